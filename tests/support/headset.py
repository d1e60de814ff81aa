"""The agent's ear and voice for measurements: when each packet came, and when a change of tone was spoken.

Packets are noted as they arrive and decoded when somebody asks: what a browser's own buffer adds is not ours, and
a dozen of these must not disturb what they measure.
"""

import time
from collections import deque
from typing import Any

from aiortc.rtp import RtpPacket

from media.frame import RATE, SAMPLES
from media.opus import Decoder
from web.demo.tones import AGENT_HZ
from web.demo.voice import Recording

from .browser_leg import BrowserLeg, tone

KEPT = 1500
"Packets: 30 s."


class Headset(BrowserLeg):
    """Speaks a tone; keeps what it hears, with the times."""

    def __init__(self, hertz: float = AGENT_HZ) -> None:
        super().__init__(tone(hertz))
        self._packets: deque[tuple[float, bytes]] = deque(maxlen=KEPT)

    async def accept(self, answer: str, *, within: float = 20.0) -> None:
        await super().accept(answer, within=within)
        receiver: Any = self._peer.getReceivers()[0]
        receiver._handle_rtp_packet = self._arrived

    async def _arrived(self, packet: RtpPacket, **_: Any) -> None:
        self._packets.append((time.monotonic(), packet.payload))

    def recording(self, since: float) -> Recording:
        """What came since then (a little more, as a decoder must settle)."""
        recording, decoder = Recording(RATE), Decoder()
        for at, payload in list(self._packets):
            if at >= since - 0.2:
                recording.add(at, decoder.decode(payload))
        return recording

    def speak(self, hertz: float) -> int:
        """From the next frame on the microphone has this tone; the frame's number, for `spoken_at`."""
        self.microphone.source = tone(hertz)
        return len(self.microphone.sent_at)

    def spoken_at(self, frame: int) -> float | None:
        """When that frame was handed over, in monotonic seconds; None if it was not yet."""
        sent = self.microphone.sent_at
        return sent[frame] if frame < len(sent) else None


__all__ = ["SAMPLES", "Headset"]
