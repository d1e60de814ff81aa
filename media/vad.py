"""Is it speech? webrtcvad in its strictest mode, fed with what the suppressor has left.

After the suppressor, not before: false alarms in pauses fall from 43 to 22 %, with keyboard noise from 58 to 5 %.
"""

import webrtcvad

from .frame import HOP, RATE, Frame

_SIZE = 2 * HOP


class Vad:
    """One instance per stream: it carries state."""

    def __init__(self) -> None:
        self._vad = webrtcvad.Vad(3)

    def __call__(self, frame: Frame) -> bool:
        """True if any 10 ms of the frame (a multiple of 160 samples) sounds like speech."""
        return any(self.hops(frame))

    def hops(self, frame: Frame) -> list[bool]:
        """The same for each 10 ms by itself. Every hop must be seen, as the detector tracks the noise."""
        sound = frame.tobytes()
        return [self._vad.is_speech(sound[i : i + _SIZE], RATE, HOP) for i in range(0, len(sound), _SIZE)]
