"""A FreeSWITCH in memory behind a real event socket: its channels, its variables, its hash, its hooks and its timers.

Every event it sends is a recorded one with other values (`esl_recorded`). It runs what the adapter gives it: the
expressions of a hangup hook and of a dead-man are expanded and carried out here as FreeSWITCH does it, so that what the
PBX would do on its own is under test without one.

`python -m tests.support.fake_esl --record` rewrites `tests/data/esl` from a real one (`FREESWITCH_HOME`).
"""

import asyncio
import json
import re
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from .esl_recorded import DATA, told
from .esl_server import ACCEPTED, CHALLENGE, EslServer, Session, framed, reply, response

if TYPE_CHECKING:
    from .freeswitch import FsLab, Topology

_CALLABLE = re.compile(r"\$\{(\w+)\(([^${}()]*(?:\([^${}()]*\)[^${}()]*)*)\)\}")


LOOKS_EVERY_S = 0.02
"""How often `originate` looks whether a leg has answered."""


@dataclass(eq=False)
class FakeChannel:
    """One channel; `peer` is whom it is bridged with, `target` whom it eavesdrops on."""

    uuid: str
    name: str
    variables: dict[str, str] = field(default_factory=dict)
    peer: str = ""
    target: str = ""
    keys: str = "0"
    muted: bool = False
    hushed: bool = False
    """Whether what its own media bugs and applications say to it is silenced."""
    bugs: list[str] = field(default_factory=list)
    place: str = ""
    places: int = 1


class FakeFreeSwitch(EslServer):
    """One PBX for any number of services."""

    def __init__(self) -> None:
        super().__init__(self._serve)
        self.channels: dict[str, FakeChannel] = {}
        self.hash: dict[str, str] = {}
        self.commands: list[str] = []
        self.refuses = False
        """Every originate fails, as when no media worker answers."""
        self.pulse_s = 0.0
        """After so long a media worker answers a pulse."""
        self._sessions: set[Session] = set()
        self._timers: list[asyncio.TimerHandle] = []
        self._numbers = 0
        self.pace = 1.0
        """Seconds of a timer are so long."""

    async def vanish(self) -> None:
        await super().vanish()
        self._sessions.clear()

    # ---- people ----

    def call(self, **variables: str) -> str:
        """A caller and an AI talk; returns the caller's id."""
        caller = self._create("sofia/internal/caller@127.0.0.1", {"takeover_id": "", **variables})
        caller.variables["takeover_id"] = caller.uuid
        ai = self._create(f"sofia/internal/ai-{self._numbers}@127.0.0.1:5090", {})
        self.bridge(caller.uuid, ai.uuid)
        return caller.uuid

    def stream(self, function: str = "audio_stream", **variables: str) -> str:
        """A caller talks to an AI that is a media bug on his own channel; returns the caller's id."""
        caller = self._create("sofia/internal/caller@127.0.0.1", variables)
        self.bug(caller, function)
        return caller.uuid

    def bug(self, channel: FakeChannel, function: str, begins: bool = True) -> None:
        """A media bug begins, behind all others, or ends."""
        channel.bugs.append(function) if begins else channel.bugs.remove(function)
        self.tell(f"MEDIA_BUG_{'START' if begins else 'STOP'}", channel, **{"Media-Bug-Function": function})

    def bridge(self, a: str, b: str) -> None:
        for one, other in ((a, b), (b, a)):
            self.channels[one].peer = self.channels[one].variables["signal_bond"] = other
        self.tell("CHANNEL_BRIDGE", a, **{"Bridge-A-Unique-ID": a, "Bridge-B-Unique-ID": b})

    def hangup(self, channel: str, cause: str = "NORMAL_CLEARING") -> None:
        """A channel ends: its hook runs, whoever was bridged with it goes on, who eavesdropped on it ends too."""
        gone = self.channels.pop(channel, None)
        if gone is None:
            return
        if gone.target in self.channels:
            self.bug(self.channels[gone.target], "eavesdrop", begins=False)
        if (hook := gone.variables.get("api_hangup_hook")) is not None:
            self.api(self.expand(hook))
        self.tell("CHANNEL_HANGUP_COMPLETE", gone, **{"Hangup-Cause": cause})
        if (hook := gone.variables.get("api_reporting_hook")) is not None:
            self.api(self.expand(hook))
        for spy in [one.uuid for one in self.channels.values() if one.target == channel]:
            self.hangup(spy)
        other = self.channels.get(gone.peer)
        if other is not None:
            other.peer = ""
            after = other.variables.pop("transfer_after_bridge", "")
            self._lead(other, after.split(":")[0]) if after else self.hangup(other.uuid)

    def callers(self) -> list[str]:
        """Who talks to an AI."""
        return [one.uuid for one in self.channels.values() if "takeover_id" in one.variables]

    def agents(self, caller: str) -> list[FakeChannel]:
        return [one for one in self.channels.values() if one.target == caller]

    def ai_audible(self, caller: str) -> bool:
        if "audio_stream" in self.channels[caller].bugs:
            return not self.channels[caller].hushed
        ai = self.channels.get(self.channels[caller].peer)
        return ai is not None and not ai.muted

    def _lead(self, channel: FakeChannel, extension: str) -> None:
        """Our dialplan, and places of the administrator's."""
        channel.place = extension
        channel.places += 1
        channel.variables.pop("signal_bond", None)
        match extension:
            case "takeover_pair":
                channel.variables["takeover_paired_uuid"] = channel.uuid
                self.tell("takeover::paired", channel.uuid)
                there = self.hash.get(f"takeover_{channel.uuid}", "") in self.channels
                if not there:
                    self._lead(channel, "takeover_fallback")
            case "takeover_fallback":
                channel.variables.pop("takeover_paired_uuid", None)
                self.tell("takeover::fallback", channel.uuid)

    def _create(self, name: str, variables: dict[str, str], channel: str = "") -> FakeChannel:
        self._numbers += 1
        made = FakeChannel(channel or str(uuid.uuid4()), name, variables)
        self.channels[made.uuid] = made
        self.tell("CHANNEL_CREATE", made.uuid)
        return made

    # ---- the event socket ----

    def tell(self, what: str, channel: "str | FakeChannel" = "", body: str = "", **headers: str) -> None:
        """Tells every service an event about a channel."""
        about = self.channels.get(channel) if isinstance(channel, str) else channel
        data = told(what, body, **(self._data(about) if about else {}), **headers)
        for session in self._sessions:
            session.write(data)

    def say(self, data: bytes) -> None:
        """Says these bytes to every service, whatever they are."""
        for session in self._sessions:
            session.write(data)

    async def drained(self) -> None:
        """Returns when the services keep up."""
        await asyncio.gather(*(session.writer.drain() for session in self._sessions))

    def _data(self, channel: FakeChannel) -> dict[str, str]:
        variables = {f"variable_{name}": value for name, value in channel.variables.items()}
        return {
            "Unique-ID": channel.uuid,
            "Channel-Name": channel.name,
            "Caller-Caller-ID-Number": "100",
            "Caller-Caller-ID-Name": "Cara",
            "Caller-Channel-Created-Time": "1795373679093961",
            **variables,
        }

    async def _serve(self, session: Session) -> None:
        session.write(CHALLENGE)
        if await session.command() != "auth right":
            session.write(reply("-ERR invalid"))
            return
        session.write(ACCEPTED)
        try:
            while command := await session.command():
                self.commands.append(command)
                self._take(session, command)
        finally:
            self._sessions.discard(session)

    def _take(self, session: Session, command: str) -> None:
        verb, _, rest = command.partition(" ")
        match verb:
            case "event":
                self._sessions.add(session)
                session.write(reply("+OK event listener enabled plain"))
            case "api":
                session.write(response(self.api(rest)))
            case "bgapi":
                line, _, job = rest.partition("\nJob-UUID: ")
                session.write(reply(f"+OK Job-UUID: {job}"))
                said = self.api(line)
                if said.startswith("+OK") and "originate" in line:
                    later = asyncio.get_running_loop().call_later
                    looks_s = LOOKS_EVERY_S + (self.pulse_s if "&park" in line else 0)
                    self._timers.append(later(looks_s, self._answered, session, job, said))
                else:
                    session.write(told("BACKGROUND_JOB", said, **{"Job-UUID": job}))
            case "sendevent":
                headers = dict(line.split(": ", 1) for line in rest.split("\n")[1:])
                session.write(reply())
                self._sent(headers)
            case _:
                session.write(reply("-ERR command not found"))

    def _answered(self, session: Session, job: str, said: str) -> None:
        """`originate` looks: a leg that is still there begins to eavesdrop, or parks."""
        leg = self.channels.get(said.removeprefix("+OK ").strip())
        if leg is None:
            said = "-ERR ORIGINATOR_CANCEL\n"
        elif leg.place == "park":
            leg.place = ""
        elif leg.place not in self.channels:
            self.hangup(leg.uuid)
        else:
            leg.target, leg.place = leg.place, ""
            self._eavesdrop(leg)
        session.write(told("BACKGROUND_JOB", said, **{"Job-UUID": job}))

    def _eavesdrop(self, leg: FakeChannel) -> None:
        leg.keys = "3" if leg.variables.get("eavesdrop_whisper_bleg") == "true" else "0"
        self.bug(self.channels[leg.target], "eavesdrop")

    def _sent(self, headers: dict[str, str]) -> None:
        leg = self.channels.get(headers.get("unique-id", ""))
        if "unique-id" not in headers:
            self.tell(headers.pop("Event-Subclass"), **headers)
        elif leg is not None:
            leg.keys = headers["eavesdrop-command"]

    # ---- its API ----

    def api(self, line: str) -> str:
        """What FreeSWITCH answers to a command."""
        verb, _, rest = line.partition(" ")
        words = rest.split(" ")
        if verb in ("uuid_setvar", "uuid_audio", "uuid_kill", "uuid_transfer", "uuid_send_dtmf", "uuid_dump"):
            channel = self.channels.get(words[0])
            if channel is None:
                return "-ERR No such channel!\n"
            return self._on(verb, channel, words[1:])
        answers: dict[str, Callable[[], str]] = {
            "echo": lambda: rest,
            "version": lambda: "1.10.12-release\n",
            "module_exists": lambda: "true",
            "xml_locate": lambda: "".join(f'<extension name="takeover_{n}">' for n in ("pair", "hold", "fallback")),
            "sofia": lambda: "Name internal\n",
            "uuid_exists": lambda: str(words[0] in self.channels).lower(),
            "uuid_buglist": lambda: self._listing(words[0]),
            "regex": lambda: str(re.search(rest.rpartition("|")[2], rest.rpartition("|")[0]) is not None).lower(),
            "uuid_getvar": lambda: self._getvar(words[0], words[1]),
            "hash": lambda: self._hash(rest.split("/")),
            "sched_api": lambda: self._schedule(words),
            "expand": lambda: self.api(self.expand(rest)),
            "cond": lambda: words[4] if words[0] == words[2] else words[6],
            "originate": lambda: self._originate(rest),
            "show": lambda: self._show(words[0]),
        }
        return answers[verb]() if verb in answers else "-ERR Command not found!\n"

    def expand(self, text: str) -> str:
        """Carries out `${function(arguments)}`, the innermost first."""
        while found := _CALLABLE.search(text):
            text = text[: found.start()] + self.api(f"{found[1]} {found[2]}").strip() + text[found.end() :]
        return text

    def _getvar(self, channel: str, name: str) -> str:
        found = self.channels.get(channel)
        if found is None:
            return "-ERR No such channel!\n"
        context = "takeover" if found.place.startswith("takeover_") else "default"
        profile = {"profile_index": str(found.places), "context": context}
        return (found.variables | profile).get(name, "_undef_")

    def _on(self, verb: str, channel: FakeChannel, words: Sequence[str]) -> str:
        match verb:
            case "uuid_setvar":
                value = " ".join(words[1:])
                channel.variables.pop(words[0], None)
                if value:
                    channel.variables[words[0]] = value
            case "uuid_audio":
                self._audio(channel, words)
            case "uuid_kill":
                self.hangup(channel.uuid, *words[:1])
            case "uuid_transfer" if words[0].startswith("eavesdrop:"):
                self.bug(self.channels[channel.target], "eavesdrop", begins=False)
                self._eavesdrop(channel)
            case "uuid_transfer":
                other, channel.peer = self.channels.get(channel.peer), ""
                if other is not None:
                    other.peer = ""
                    self.hangup(other.uuid)
                self._lead(channel, words[0])
            case "uuid_send_dtmf":
                channel.variables["digits"] = words[0]
            case "uuid_dump":
                return (
                    "\n".join(f"{key}: {quote(value, safe='')}" for key, value in self._data(channel).items()) + "\n\n"
                )
        return "+OK\n"

    def _audio(self, channel: FakeChannel, words: Sequence[str]) -> None:
        if (words[0] == "start") != ("audio" in channel.bugs):
            self.bug(channel, "audio", begins=words[0] == "start")
        match words:
            case ["start", "read", "mute", level]:
                channel.muted = level == "1"
            case ["start", "write", "mute", level]:
                channel.hushed = level == "1"
            case ["stop"]:
                channel.muted = channel.hushed = False

    def _listing(self, channel: str) -> str:
        found = self.channels.get(channel)
        bugs = "".join(f" <function>{one}</function>\n <target>t</target>\n" for one in (found.bugs if found else ()))
        return f"<media-bugs>\n{bugs}</media-bugs>\n"

    def _hash(self, words: Sequence[str]) -> str:
        verb, key = words[0], f"{words[1]}_{words[2]}"
        match verb:
            case "select":
                return self.hash.get(key, "-ERR no reply\n")
            case "insert_ifempty" if key not in self.hash:
                self.hash[key] = words[3]
                return "+OK\n"
            case "delete_ifmatch" if self.hash.get(key) == words[3]:
                del self.hash[key]
                return "+OK\n"
        return "-ERR\n"

    def _schedule(self, words: Sequence[str]) -> str:
        seconds = float(words[0].removeprefix("+")) * self.pace
        self._timers.append(asyncio.get_running_loop().call_later(seconds, self.api, " ".join(words[2:])))
        return "+OK Added: 1\n"

    def _originate(self, line: str) -> str:
        found = re.fullmatch(r"\{([^}]*)\}(sofia/\S+) &(?:eavesdrop|park)\(([^)]*)\)", line)
        if found is None or self.refuses:
            return "-ERR NO_ROUTE_DESTINATION\n"
        variables = {name: value.strip("'") for name, _, value in (p.partition("=") for p in found[1].split(","))}
        leg = self._create(found[2].replace("sip:", ""), variables, variables["origination_uuid"])
        leg.place = found[3] or "park"
        if leg.place == "park" and self.pulse_s:
            later = asyncio.get_running_loop().call_later
            self._timers.append(later(self.pulse_s, lambda: self.tell("CHANNEL_ANSWER", leg)))
        else:
            self.tell("CHANNEL_ANSWER", leg)
        return f"+OK {variables['origination_uuid']}\n"

    def _show(self, what: str) -> str:
        if what == "channels":
            rows = [
                {"uuid": one.uuid, "name": one.name, "application": "eavesdrop" if one.target else "bridge"}
                for one in self.channels.values()
            ]
        else:
            listed = [one for one in self.channels.values() if not one.peer or one.peer > one.uuid]
            rows = [{"uuid": one.uuid, "b_uuid": one.peer} for one in listed]
        return json.dumps({"row_count": len(rows), "rows": rows} if rows else {"row_count": 0})


# ---- recording ----


async def record() -> None:
    """Rewrites `tests/data/esl`: every event of a call that is taken over, and then loses its AI, in each topology."""
    from .freeswitch import FsLab, Instance, Topology, home

    prefix = home()
    if prefix is None:
        raise SystemExit("FREESWITCH_HOME names no FreeSWITCH")
    names: dict[Topology, str] = {"T1": "takeover", "T2": "t2", "T3": "t3", "T4": "t4"}
    DATA.mkdir(parents=True, exist_ok=True)
    async with Instance(prefix) as instance, FsLab(instance) as lab:
        for topology, name in names.items():
            said = await _recorded(lab, topology)
            (DATA / f"{name}.txt").write_bytes(_trimmed(said))


async def _recorded(lab: "FsLab", topology: "Topology") -> bytes:
    from connector.domain.calls import Mode
    from connector.domain.events import CallChanged
    from connector.freeswitch import wire
    from tests.contract.under_test import followed

    pbx = lab.service()
    async with followed(pbx) as follower:
        reader, writer = await asyncio.open_connection(*lab.control)
        writer.write(f"auth {lab.pbx.password}\n\n".encode())
        writer.write(f"event plain {wire.EVENTS} CUSTOM {wire.SUBCLASSES}\n\n".encode())
        await asyncio.sleep(0.5)
        await reader.read(65536)
        call = await lab.call(topology)
        told = await follower.event(CallChanged, lambda e: e.call.channels.caller_id == call.uniqueid)
        await pbx.engage(told.call, lab.patch(), Mode.TAKEOVER, "Ann Ä")
        call.caller.media.send_dtmf("5")
        await asyncio.sleep(1)
        await call.ai.hangup()
        await asyncio.sleep(1)
        await call.hangup()
        await asyncio.sleep(1)
        writer.write_eof()
        return await reader.read(-1)


_FRAME = re.compile(rb"Content-Length: (\d+)\nContent-Type: text/event-plain\n\n")
_OTHERS = re.compile(
    rb"^(?:FreeSWITCH-|Core-UUID|Event-Date|Event-Calling|Other-Leg-|Channel-(?!Name)|Presence-|Caller-(?!Caller-ID|Channel-Cr)"
    rb"|variable_(?!takeover_|bypass_media|proxy_media|send_silence|socket_host)).*\n",
    re.MULTILINE,
)


def _trimmed(said: bytes) -> bytes:
    """The events without what nobody reads here, and what tells of the machine they were recorded on."""
    told, place = b"", 0
    while (frame := _FRAME.search(said, place)) is not None:
        place = frame.end() + int(frame[1])
        told += framed(_OTHERS.sub(b"", said[frame.end() : place]))
    return told


if __name__ == "__main__":
    if sys.argv[1:] != ["--record"]:
        raise SystemExit("usage: python -m tests.support.fake_esl --record")
    asyncio.run(record())
