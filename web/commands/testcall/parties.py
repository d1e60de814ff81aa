"""Caller and AI of a test call, both of them here, each with its tone; the PBX is told to join them.

Whatever happens to this process, the PBX ends the call: an AudioSocket closes with it, and a SIP leg that sends nothing
any more is ended by `media_timeout`; both after `LONGEST_S` in any case.
"""

import asyncio
import secrets
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from connector.asterisk import client as ami
from connector.asterisk import wire as asterisk
from connector.domain.errors import VerbRefused
from connector.freeswitch import client as esl
from connector.freeswitch import wire as freeswitch

from ...demo.audiosocket import AudioSocketLeg, AudioSocketServer
from ...demo.sip import SipCall, SipPhone
from ...demo.tones import AI_HZ, CALLER_HZ
from ...demo.voice import Recording, Source, Tone

LONGEST_S = 60
ANSWER_S = 8.0


class Leg(Protocol):
    """One party's end."""

    source: Source

    @property
    def recording(self) -> Recording: ...


@dataclass(frozen=True, slots=True)
class Parties:
    """Who talks to whom, until the block around them ends. `caller_id` is the PBX's id of the caller's channel."""

    caller_id: str
    caller: Leg
    ai: Leg


class NobodyCame(Exception):
    """The PBX did not bring caller and AI together; `what`, and the `remedy`."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what, self.remedy = what, remedy


AI_RULE = r"^(AudioSocket/[^/]*|sofia/[^/]*/(sip:)?ai-[^/]*)$"
"""Fits the AI of a test call, whose calls are the only ones that its adapter sees."""


@asynccontextmanager
async def on_asterisk(pbx: str, address: ami.Address, host: str) -> AsyncIterator[Parties]:
    """A call between two AudioSockets at `host`. Raises `NobodyCame`, `PbxError`."""
    caller, ai = str(uuid.uuid4()), str(uuid.uuid4())
    channel = f"{asterisk.TEST_CALL}{int(time.time())}.{secrets.randbelow(1 << 31)}"
    failed = asyncio.Event()

    def heard(message: asterisk.Message) -> None:
        if message.event == "OriginateResponse" and message["response"] == "Failure" and caller in message["channel"]:
            failed.set()

    async with ami.Connection(pbx, address, heard) as connection, AudioSocketServer(host=host) as server:
        places = [(host, server.port, one) for one in (caller, ai)]
        answer = await connection.ask(asterisk.test_call(channel, places[0], places[1], LONGEST_S))
        if not answer.ok:
            remedy = "the AMI user needs write=originate,call,reporting (manager_takeover.conf), then `manager reload`"
            raise NobodyCame(f"the test call was refused ({answer['message'] or 'no reason given'})", remedy)
        try:
            first = await came(server, caller, failed)
            if first is None:
                raise NobodyCame(f"Asterisk did not connect the test call's caller to {_at(places[0])}", SOCKET_REMEDY)
            first.source = Tone(CALLER_HZ)
            second = await came(server, ai, first.ended)
            if second is None:
                raise NobodyCame(f"Asterisk did not connect the test call's AI to {_at(places[1])}", SOCKET_REMEDY)
            second.source = Tone(AI_HZ)
            yield Parties(channel, first, second)
        finally:
            await connection.ask(asterisk.hangup(channel))


async def came(server: AudioSocketServer, identity: str, never: asyncio.Event) -> AudioSocketLeg | None:
    """The leg of that uuid, or None when it will not come."""
    coming = asyncio.create_task(server.leg(identity, within=ANSWER_S))
    ending = asyncio.create_task(never.wait())
    try:
        await asyncio.wait([coming, ending], return_when=asyncio.FIRST_COMPLETED)
        return coming.result() if coming.done() and coming.exception() is None else None
    finally:
        coming.cancel()
        ending.cancel()
        await asyncio.gather(coming, ending, return_exceptions=True)


def _at(place: tuple[str, int, str]) -> str:
    return f"AudioSocket {place[0]}:{place[1]}"


SOCKET_REMEDY = (
    "load chan_audiosocket, res_audiosocket and app_dial (`asterisk -rx 'module show like audiosocket'`); where "
    "Asterisk is another machine, media.audiosocket_host must be an address of this one that it reaches"
)


@asynccontextmanager
async def on_freeswitch(pbx: str, address: esl.Address, profile: str, host: str) -> AsyncIterator[Parties]:
    """A call between two SIP phones at `host`, bridged. Raises `NobodyCame`, `PbxError`."""
    call = str(uuid.uuid4())
    came: dict[str, asyncio.Future[SipCall]] = {
        f"{role}-{call}": asyncio.get_running_loop().create_future() for role in ("caller", "ai")
    }

    async def rang(leg: SipCall) -> None:
        wanted = came.get(leg.called)
        if wanted is None or wanted.done():
            await leg.hangup()
            return
        leg.source = Tone(CALLER_HZ if leg.called.startswith("caller") else AI_HZ)
        await leg.answer()
        wanted.set_result(leg)

    async with SipPhone("doctor", host=host, on_call=rang) as phone, esl.Connection(pbx, address, _deaf) as connection:
        end, originate = freeswitch.test_call(call, profile, host, phone.port, LONGEST_S)
        await connection.api(end)
        try:
            answer = await connection.job(originate, ANSWER_S)
            if not answer.startswith("+OK"):
                what = f"the test call to SIP {host}:{phone.port} failed ({answer or 'no reason given'})"
                raise NobodyCame(what, SIP_REMEDY)
            async with asyncio.timeout(ANSWER_S):
                caller, ai = await asyncio.gather(*came.values())
        except TimeoutError:
            raise NobodyCame(f"FreeSWITCH did not bridge the test call to SIP {host}", SIP_REMEDY) from None
        except VerbRefused as error:
            raise NobodyCame(f"the test call was refused ({error.why})", SIP_REMEDY) from None
        else:
            yield Parties(call, caller, ai)
        finally:
            await connection.api(f"uuid_kill {call}", f"sched_del {call}")


def _deaf(_: freeswitch.Message) -> None:
    """What happens is told to the adapter, on a connection of its own."""


SIP_REMEDY = (
    "the SIP profile must be able to call this machine: `fs_cli -x 'sofia status'`, sip_profile, a firewall, and where "
    "FreeSWITCH is another machine, media.audiosocket_host must be an address of this one that it reaches"
)
