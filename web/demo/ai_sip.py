"""An AI that Asterisk reaches by SIP, as most vendors attach theirs. The dialplan hands it its call's reference."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from .sip import SipCall, SipPhone
from .voice import Recording, Source

ENDPOINT = "assistant"
REF_HEADER = "X-Demo-Ref"


@dataclass(eq=False)
class SipLeg:
    """The AI's end of one call, in the same words as AudioSocket's."""

    call: SipCall

    @property
    def ref(self) -> str:
        return self.call.header(REF_HEADER)

    @property
    def source(self) -> Source:
        return self.call.media.source

    @source.setter
    def source(self, source: Source) -> None:
        self.call.media.source = source

    @property
    def recording(self) -> Recording:
        return self.call.media.recording

    @recording.setter
    def recording(self, recording: Recording) -> None:
        self.call.media.recording = recording

    @property
    def ended(self) -> asyncio.Event:
        return self.call.ended


def sip_ai(on_leg: Callable[[SipLeg], None]) -> SipPhone:
    """The AI's phone; use it as an async context manager. `on_leg` is told of each call before it is answered."""

    async def came(call: SipCall) -> None:
        on_leg(SipLeg(call))
        await call.answer()

    return SipPhone(ENDPOINT, on_call=came)
