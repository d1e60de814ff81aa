"""A caller of ours who dials a number of the site: an ordinary call through its own dialplan, to its own AI.

Whatever happens to this process, the PBX ends the call, as it does those of `parties`.
"""

import asyncio
import contextlib
import secrets
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from connector.asterisk import client as ami
from connector.asterisk import wire as asterisk
from connector.domain.errors import VerbRefused
from connector.freeswitch import client as esl
from connector.freeswitch import wire as freeswitch

from ...demo.audiosocket import AudioSocketServer
from ...demo.sip import SipCall, SipPhone
from ...demo.voice import Recording, Source
from .number import Number
from .parties import ANSWER_S, SIP_REMEDY, SOCKET_REMEDY, NobodyCame, came

LONGEST_S = 120
TOLD_S = 1.0


class Leg(Protocol):
    """The caller's end."""

    source: Source
    ended: asyncio.Event

    @property
    def recording(self) -> Recording: ...


@dataclass
class Story:
    """What the dialplan did with the call, as the PBX told it."""

    legs: dict[str, str] = field(default_factory=dict)
    """Channels that were dialled, and what became of each."""
    doing: str = ""
    """The application that ran last on the caller's own channel, where the PBX tells it."""
    why: str = ""
    """Why it ended the call."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with `why`."""

    def end(self, why: str) -> None:
        """The PBX has told it."""
        self.why = why
        self.over.set()

    async def ended(self) -> None:
        """Waits (bounded) for it: the PBX tells us on another connection than the one on which it ends the sound."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.over.wait(), TOLD_S)

    def __str__(self) -> str:
        legs = ", ".join(f"{name} ({how})" for name, how in self.legs.items())
        told = f"the dialplan dialled {legs}" if legs else "the dialplan dialled nobody"
        told += f", and was in {self.doing}" if self.doing and not legs else ""
        return told + (f", and the PBX ended the call ({self.why})" if self.why else "")


@dataclass(frozen=True, slots=True)
class Caller:
    """Our end of the call, until the block around it ends. `id` is the PBX's id of its channel."""

    id: str
    leg: Leg
    story: Story


@asynccontextmanager
async def on_asterisk(pbx: str, address: ami.Address, host: str, number: Number) -> AsyncIterator[Caller]:
    """A call from an AudioSocket at `host`. Raises `NobodyCame`, `PbxError`."""
    identity, channel = str(uuid.uuid4()), f"doctor-{int(time.time())}.{secrets.randbelow(1 << 31)}"
    story, failed = Story(), asyncio.Event()

    def heard(m: asterisk.Message) -> None:
        if m.event == "OriginateResponse" and m["response"] == "Failure" and identity in m["channel"]:
            failed.set()
        elif m.event == "DialBegin" and channel in (m["uniqueid"], m["linkedid"]):
            story.legs[m["destchannel"]] = "not answered"
        elif m.event == "DialEnd" and m["destchannel"] in story.legs:
            story.legs[m["destchannel"]] = "answered" if m["dialstatus"] == "ANSWER" else m["dialstatus"].lower()
        elif m.event == "Hangup" and m["uniqueid"] == channel:
            story.end(m["cause-txt"] or m["cause"])

    async with (
        AudioSocketServer(host=host) as server,
        ami.Connection(pbx, address, heard) as connection,
        _drained(connection),
    ):
        exists = await connection.ask(asterisk.number_exists(number.number, number.context))
        if exists.ok and exists["value"] == "0":
            what = f"this Asterisk's dialplan has no number {number}"
            raise NobodyCame(what, f"`asterisk -rx 'dialplan show {number.context}'` shows those it has")
        place = (host, server.port, identity)
        dialled = asterisk.dialled_call(channel, place, number.number, number.context, LONGEST_S)
        answer = await connection.ask(dialled)
        if not answer.ok:
            remedy = "the AMI user needs write=originate (manager_takeover.conf), then `manager reload`"
            raise NobodyCame(f"the call was refused ({answer['message'] or 'no reason given'})", remedy)
        try:
            leg = await came(server, identity, failed)
            if leg is None:
                what = f"Asterisk did not connect the caller to AudioSocket {host}:{server.port}"
                raise NobodyCame(what, SOCKET_REMEDY)
            yield Caller(channel, leg, story)
        finally:
            await connection.ask(asterisk.hangup(channel))


@asynccontextmanager
async def on_freeswitch(
    pbx: str, address: esl.Address, profile: str, host: str, number: Number
) -> AsyncIterator[Caller]:
    """A call from a SIP phone at `host`. Raises `NobodyCame`, `PbxError`."""
    call, story = str(uuid.uuid4()), Story()
    rang: asyncio.Future[SipCall] = asyncio.get_running_loop().create_future()

    async def answer(leg: SipCall) -> None:
        if leg.called != f"caller-{call}" or rang.done():
            await leg.hangup()
            return
        await leg.answer()
        rang.set_result(leg)

    def heard(m: freeswitch.Message) -> None:
        mine, name = m["unique-id"] == call, m["channel-name"]
        if mine and m.event == "CHANNEL_EXECUTE":
            story.doing = m["application"]
        elif mine and m.event == "CHANNEL_HANGUP_COMPLETE":
            story.end(m["hangup-cause"])
        elif not mine and call in (m["channel-call-uuid"], m["other-leg-unique-id"]) and name:
            how = {"CHANNEL_CREATE": "not answered", "CHANNEL_ANSWER": "answered"}.get(m.event)
            if m.event == "CHANNEL_HANGUP_COMPLETE" and story.legs.get(name) == "not answered":
                how = m["hangup-cause"]
            story.legs |= {name: how} if how else {}

    async with (
        SipPhone("doctor", host=host, on_call=answer) as phone,
        esl.Connection(pbx, address, heard) as link,
        _drained(link),
    ):
        await link.api(f"sched_api +{LONGEST_S} {call} uuid_kill {call}")
        try:
            place = f"{freeswitch.allowed('host', host)}:{freeswitch.allowed('port', str(phone.port))}"
            result = await link.job(_originate(call, profile, place, number), ANSWER_S)
            if not result.startswith("+OK"):
                what = f"the call to the caller, SIP {place}, failed ({result or 'no reason given'})"
                raise NobodyCame(what, SIP_REMEDY)
            async with asyncio.timeout(ANSWER_S):
                leg = await rang
        except TimeoutError:
            raise NobodyCame(f"FreeSWITCH did not call the caller at SIP {host}", SIP_REMEDY) from None
        except VerbRefused as error:
            raise NobodyCame(f"the call was refused ({error.why})", SIP_REMEDY) from None
        else:
            yield Caller(call, leg, story)
        finally:
            await link.api(f"uuid_kill {call}", f"sched_del {call}")


def _originate(call: str, profile: str, place: str, number: Number) -> str:
    variables = {
        "origination_uuid": call,
        "origination_caller_id_name": "takeover-doctor",
        "origination_caller_id_number": "takeover-doctor",
        "originate_timeout": "5",
        "absolute_codec_string": "PCMU",
        "media_timeout": str(freeswitch.TEST_SILENCE_MS),
    }
    listed = ",".join(f"{name}={value}" for name, value in variables.items())
    dialled = f"sofia/{freeswitch.allowed('profile', profile)}/sip:caller-{call}@{place}"
    return f"originate {{{listed}}}{dialled} {number.number} XML {number.context}"


@asynccontextmanager
async def _drained(connection: ami.Connection | esl.Connection) -> AsyncIterator[None]:
    """What happens on the whole PBX is read (and has been told by then): else it would wait, and the answers too."""

    async def read() -> None:
        async for _ in connection.events():
            pass

    task = asyncio.create_task(read(), name="doctor-events")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
