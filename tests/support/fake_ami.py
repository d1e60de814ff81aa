"""An AMI server made of recordings: it answers with what a real Asterisk said, and fails in the ways links fail.

`python -m tests.support.fake_ami --record` rewrites `tests/data/ami` from the embedded Asterisk. A recording is a text
file of steps (``# name``), each with what the adapter sent (``> ``) and what Asterisk sent (``< ``), in order.
"""

import asyncio
import itertools
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

DATA = Path(__file__).parents[1] / "data" / "ami"
BANNER = "Asterisk Call Manager/11.0.0\r\n"
EOL = "\r\n"


@dataclass(frozen=True)
class Block:
    """One message: headers as sent, repeated ones in order."""

    headers: tuple[tuple[str, str], ...]

    def get(self, key: str) -> str:
        return next((value for name, value in self.headers if name == key), "")

    def all(self, key: str) -> list[str]:
        return [value for name, value in self.headers if name == key]

    @property
    def what(self) -> str:
        """Its event (or UserEvent), its action, or nothing for a response."""
        return self.get("UserEvent") or self.get("Event") or self.get("Action")

    def text(self, action_id: str = "", **changed: str) -> str:
        """As AMI sends it, with some headers changed and the ActionID of the one who asked."""
        lines = [f"{name}: {changed.get(name, value)}" for name, value in self.headers if name != "ActionID"]
        if action_id:
            lines.insert(1, f"ActionID: {action_id}")
        return EOL.join([*lines, "", ""])


def block(text: str) -> Block:
    """Reads one message."""
    pairs = (line.partition(":") for line in text.split(EOL) if ":" in line)
    return Block(tuple((name, value.strip()) for name, _, value in pairs))


@dataclass
class Step:
    """A part of a recording."""

    name: str
    sent: list[Block] = field(default_factory=list)
    said: list[Block] = field(default_factory=list)


def load(name: str) -> dict[str, Step]:
    """Reads a recording of `tests/data/ami`."""
    steps: dict[str, Step] = {}
    current, lines, side = Step(""), list[str](), ""

    def close() -> None:
        if lines:
            (current.sent if side == ">" else current.said).append(block(EOL.join(lines)))
            lines.clear()

    for line in (DATA / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            close()
            current = steps.setdefault(line[2:], Step(line[2:]))
        elif len(line) < 2:
            close()
        else:
            if line[0] != side:
                close()
            side = line[0]
            lines.append(line[2:])
    close()
    return steps


class FakeAmi:
    """A listening AMI on a free port; an async context manager. `answers` decides what each action gets."""

    def __init__(self, secret: str = "right") -> None:
        self.secret = secret
        self.received: list[Block] = []
        self.logins = 0
        self.silent = False
        """A half-open link: what comes is read, and nothing is ever said."""
        self.answers: dict[str, Callable[[Block], Iterable[str] | None]] = {
            "Login": self._login,
            "Ping": lambda action: [_response(action, Ping="Pong")],
        }
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._arrival = asyncio.Condition()
        self.port = 0

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.vanish()

    async def listen(self) -> None:
        """Opens the port; after `vanish`, the same one again."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def vanish(self) -> None:
        """Closes the port and every connection."""
        if self._server is not None:
            self._server.close()
        self.cut()
        if self._server is not None:
            await self._server.wait_closed()

    def cut(self) -> None:
        """Breaks every connection, as a killed PBX does."""
        for writer in list(self._writers):
            writer.transport.abort()

    def say(self, text: str | bytes) -> None:
        """Sends to every connection, whatever it is."""
        data = text if isinstance(text, bytes) else text.encode()
        for writer in self._writers:
            if not self.silent:
                writer.write(data)

    async def action(self, name: str, count: int = 1, within: float = 5) -> Block:
        """The `count`-th action of this name since the start, when it has come."""
        async with asyncio.timeout(within), self._arrival:
            while True:
                come = [action for action in self.received if action.get("Action") == name]
                if len(come) >= count:
                    return come[count - 1]
                await self._arrival.wait()

    def count(self, name: str) -> int:
        return sum(action.get("Action") == name for action in self.received)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if not self.silent:
                writer.write(BANNER.encode())
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    action = block((await reader.readuntil(b"\r\n\r\n")).decode())
                    await self._take(action, writer)
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _take(self, action: Block, writer: asyncio.StreamWriter) -> None:
        answer = self.answers.get(action.get("Action"))
        said = answer(action) if answer else [_response(action, "Error", Message="Permission denied")]
        if said is not None and not self.silent:
            writer.write("".join(said).encode())
        async with self._arrival:
            self.received.append(action)
            self._arrival.notify_all()

    def _login(self, action: Block) -> list[str]:
        self.logins += 1
        if action.get("Secret") == self.secret:
            return [_response(action, Message="Authentication accepted")]
        return [_response(action, "Error", Message="Authentication failed")]


def _response(action: Block, how: str = "Success", **headers: str) -> str:
    return Block((("Response", how), *headers.items())).text(action.get("ActionID"))


@dataclass
class FakeLeg:
    """A channel of the fake."""

    name: str
    uniqueid: str
    linkedid: str
    bridge: str = ""
    application: str = ""
    data: str = ""
    variables: dict[str, str] = field(default_factory=dict)


@dataclass
class FakeCall:
    """A caller, its AI, and whoever is in the call."""

    caller: FakeLeg
    ai: FakeLeg
    bridge: str
    agents: list[FakeLeg] = field(default_factory=list)
    paired: bool = False
    """The AI has left, and the speaker stays."""

    @property
    def speaker(self) -> FakeLeg | None:
        return next((leg for leg in self.agents if leg.variables["TK_MODE"] in ("barge", "takeover")), None)


class FakeAsterisk(FakeAmi):
    """An Asterisk with our dialplan, as far as AMI shows it. Every message it sends is a recorded one with its names
    and numbers replaced; what it decides is what the dialplan decides: who may speak, and what ends what."""

    def __init__(self, recording: str = "t1", secret: str = "right") -> None:
        super().__init__(secret)
        steps = load(recording)
        self._said: dict[str, Block] = {}
        for step in steps.values():
            for message in step.said:
                self._said.setdefault(message.what, message)
        self._connect = steps["connect"]
        self.calls: dict[str, FakeCall] = {}
        self.audible: dict[str, bool] = {}
        """Whether a call's caller hears the AI."""
        self.forgets = False
        """Whether it leaves a caller whose AI and agent are gone where he is."""
        self.digits: dict[str, str] = {}
        self._serial = itertools.count(1)
        for name in ("CoreSettings", "ShowDialPlan"):
            self.answers[name] = self._recorded
        self.answers |= {
            "Status": self._status,
            "BridgeList": self._bridge_list,
            "BridgeInfo": lambda action: [_response(action, "Error", Message="Bridge not found")],
            "Getvar": lambda action: [
                _response(action, Variable=action.get("Variable"), Value=str(next(self._serial)))
            ],
            "Setvar": self._setvar,
            "Originate": self._originate,
            "Redirect": self._redirect,
            "Hangup": self._hangup,
            "AbsoluteTimeout": lambda action: self._on_channel(action, lambda _: None),
            "PlayDTMF": self._play_dtmf,
        }

    # ---- what happens on it ----

    def call(self) -> FakeCall:
        """A caller whose AI answers."""
        number = next(self._serial)
        uniqueid = f"1800000000.{number}"
        bridge = f"bridge-{number}"
        caller = FakeLeg(f"PJSIP/caller-{number:08x}", uniqueid, uniqueid, "", "Dial", "PJSIP/ai,30,g")
        ai = FakeLeg(f"PJSIP/ai-{number:08x}", f"1800000000.{next(self._serial)}", uniqueid, "", "AppDial", "")
        call = FakeCall(caller, ai, bridge)
        self.calls[uniqueid], self.audible[uniqueid] = call, True
        self._tell("Newchannel", caller)
        self._tell("Newchannel", ai)
        self._tell("DialBegin", caller, ai)
        self._tell("DialEnd", caller, ai)
        for leg in (ai, caller):
            self._enter(leg, bridge)
        return call

    def caller_hangs_up(self, call: FakeCall) -> None:
        for leg in (*call.agents, call.ai, call.caller):
            self._end(call, leg)
        self.calls.pop(call.caller.uniqueid, None)

    def ai_hangs_up(self, call: FakeCall) -> None:
        """Caller and agent stay together when somebody speaks; else the dialplan goes on, to its end."""
        if call.speaker is None:
            self.caller_hangs_up(call)
            return
        call.paired = True
        self._end(call, call.ai)

    def agent_dies(self, call: FakeCall, patch: str, why: str = "hangup") -> None:
        leg = next((leg for leg in call.agents if leg.name.endswith(patch)), None)
        if leg is not None:
            self._leave(call, leg, why)

    # ---- what it is asked ----

    def _recorded(self, action: Block) -> list[str]:
        """The recorded answer to an action that is the same each time."""
        wanted = [sent for sent in self._connect.sent if sent.what == action.what]
        index = next((i for i, sent in enumerate(wanted) if sent.get("Context") == action.get("Context")), None)
        if index is None:
            return [_response(action, "Error", Message=f"Did not find context {action.get('Context')}")]
        key = wanted[index].get("ActionID")
        return [said.text(action.get("ActionID")) for said in self._connect.said if said.get("ActionID") == key]

    def _list(self, action: Block, name: str, rows: Iterable[str]) -> list[str]:
        done = Block((("Event", f"{name}Complete"), ("EventList", "Complete")))
        start = _response(action, EventList="start", Message="will follow")
        return [start, *rows, done.text(action.get("ActionID"))]

    def _status(self, action: Block) -> list[str]:
        names = action.get("Variables").split(",")
        rows = []
        for call in self.calls.values():
            for leg in (call.caller, call.ai, *call.agents):
                facts = {
                    "Event": "Status",
                    "Channel": leg.name,
                    "Uniqueid": leg.uniqueid,
                    "Linkedid": leg.linkedid,
                    "CallerIDNum": "caller",
                    "CallerIDName": "<unknown>",
                    "BridgeID": leg.bridge,
                    "Application": leg.application,
                    "Data": leg.data,
                }
                said = [("Variable", f"{name}={leg.variables.get(name, '(null)')}") for name in names]
                rows.append(Block((*facts.items(), *said)).text(action.get("ActionID")))
        return self._list(action, "Status", rows)

    def _bridge_list(self, action: Block) -> list[str]:
        bridges = {leg.bridge for call in self.calls.values() for leg in (call.caller, call.ai) if leg.bridge}
        item = self._said["BridgeListItem"]
        rows = [item.text(action.get("ActionID"), BridgeUniqueid=bridge) for bridge in bridges]
        return self._list(action, "BridgeList", rows)

    def _originate(self, action: Block) -> None:
        variables = dict(pair.split("=", 1) for pair in action.all("Variable"))
        place, patch, _ = action.get("Channel").removeprefix("AudioSocket/").split("/")
        leg = FakeLeg(f"AudioSocket/{place}-{patch}", action.get("ChannelId"), action.get("ChannelId"))
        leg.variables = variables
        self.say(_response(action, Message="Originate successfully queued"))
        self._tell("Newchannel", leg)
        self.say(self._said["OriginateResponse"].text(Channel=leg.name, Uniqueid=leg.uniqueid))
        call = self.calls.get(variables["TK_UID"])
        if call is None:
            self._user("TakeoverRefused", leg, Mode=action.get("Exten"), Reason="no-such-call", By="", Was="")
            self._tell("Hangup", leg)
            return
        self._enter_mode(call, leg, action.get("Exten"))

    def _enter_mode(self, call: FakeCall, leg: FakeLeg, mode: str) -> None:
        was, speaker = leg.variables.get("TK_MODE", ""), call.speaker
        uid = call.caller.uniqueid
        if mode in ("barge", "takeover") and speaker not in (None, leg):
            by = speaker.name if speaker else ""
            name = speaker.variables.get("TK_NAME", "") if speaker else ""
            self._user("TakeoverRefused", leg, Uid=uid, Mode=mode, Reason="busy", By=by, ByName=name, Was=was)
            if not was:
                self._tell("Hangup", leg)
            return
        if leg not in call.agents:
            call.agents.append(leg)
        leg.variables["TK_MODE"] = mode
        self.audible[uid] = self.audible[uid] if speaker not in (None, leg) else mode != "takeover"
        leg.application = "BridgeAdd" if mode in ("barge", "takeover") else "ChanSpy"
        names = {"Caller": call.caller.name, "Ai": call.ai.name, "Name": leg.variables.get("TK_NAME", "")}
        self._user("TakeoverMode", leg, Uid=uid, Mode=mode, **names)
        if mode in ("barge", "takeover"):
            self._enter(leg, call.bridge)

    def _redirect(self, action: Block) -> list[str] | None:
        call, leg = self._find(action.get("Channel"))
        if call is None or leg is None:
            return [_response(action, "Error", Message="Channel does not exist: " + action.get("Channel"))]
        self.say(_response(action, Message="Redirect successful"))
        if action.get("Context") == "takeover-transfer":
            for gone in (*call.agents, call.ai):
                self._end(call, gone)
            self._enter(call.caller, "elsewhere")
        elif action.get("Context") == "takeover-fallback":
            self._user("TakeoverFallback", call.caller, Uid=call.caller.uniqueid, Caller=call.caller.name)
        else:
            self._enter_mode(call, leg, action.get("Exten"))
        return None

    def _hangup(self, action: Block) -> list[str] | None:
        call, leg = self._find(action.get("Channel"))
        if call is None or leg is None:
            return [_response(action, "Error", Message="No such channel")]
        self.say(_response(action, Message="Channel Hungup"))
        if leg is call.caller:
            self.caller_hangs_up(call)
        elif leg is call.ai:
            self.ai_hangs_up(call)
        else:
            self._leave(call, leg, "hangup")
        return None

    def _setvar(self, action: Block) -> list[str]:
        return self._on_channel(action, lambda leg: leg.variables.update({action.get("Variable"): action.get("Value")}))

    def _play_dtmf(self, action: Block) -> list[str]:
        def played(leg: FakeLeg) -> None:
            self.digits[leg.name] = self.digits.get(leg.name, "") + action.get("Digit")

        return self._on_channel(action, played)

    def _on_channel(self, action: Block, act: Callable[[FakeLeg], None]) -> list[str]:
        _, leg = self._find(action.get("Channel"))
        if leg is None:
            return [_response(action, "Error", Message="No such channel")]
        act(leg)
        return [_response(action)]

    # ---- inside ----

    def _find(self, name: str) -> tuple[FakeCall | None, FakeLeg | None]:
        for call in self.calls.values():
            for leg in (call.caller, call.ai, *call.agents):
                if name in (leg.name, leg.uniqueid):
                    return call, leg
        return None, None

    def _leave(self, call: FakeCall, leg: FakeLeg, why: str) -> None:
        """The `h` extension of an agent leg."""
        uid, mode = call.caller.uniqueid, leg.variables["TK_MODE"]
        fallen = leg is call.speaker and call.paired
        if leg is call.speaker and not call.paired:
            self.audible[uid] = True
        self._user("TakeoverEnded", leg, Uid=uid, Mode=mode, Why=why)
        self._end(call, leg)
        if fallen and not self.forgets:
            self._user("TakeoverFallback", call.caller, Uid=uid, Caller=call.caller.name)

    def _end(self, call: FakeCall, leg: FakeLeg) -> None:
        if leg in call.agents:
            call.agents.remove(leg)
        leg.bridge = ""
        self._tell("Hangup", leg)

    def _enter(self, leg: FakeLeg, bridge: str) -> None:
        leg.bridge = bridge
        self._tell("BridgeEnter", leg, BridgeUniqueid=bridge)

    def _tell(self, what: str, leg: FakeLeg, dest: FakeLeg | None = None, **changed: str) -> None:
        facts = {"Channel": leg.name, "Uniqueid": leg.uniqueid, "Linkedid": leg.linkedid}
        if dest is not None:
            facts |= {"DestChannel": dest.name, "DestUniqueid": dest.uniqueid, "DestLinkedid": dest.linkedid}
        self.say(self._said[what].text(**facts, **changed))

    def _user(self, what: str, leg: FakeLeg, **fields: str) -> None:
        facts = {"Channel": leg.name, "Uniqueid": leg.uniqueid, "Agent": leg.name, **fields}
        self.say(self._said[what].text(**{"Instance": leg.variables.get("TK_INSTANCE", ""), **facts}))


# ---- recording ----


class Recorder:
    """A forwarder between the adapter and a real AMI that writes down both directions, without the secret."""

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._lines: list[str] = []
        self._last = ""

    def step(self, name: str) -> None:
        self._lines.append(f"# {name}")

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    def write(self, name: str) -> None:
        DATA.mkdir(parents=True, exist_ok=True)
        (DATA / f"{name}.txt").write_text("\n".join(self._lines) + "\n", encoding="utf-8")
        self._lines.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        with suppress(ConnectionError):
            await asyncio.gather(self._copy(reader, up_writer, ">"), self._copy(up_reader, writer, "<"))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, side: str) -> None:
        pending = ""
        while data := await reader.read(65536):
            writer.write(data)
            *blocks, pending = (pending + data.decode()).split("\r\n\r\n")
            for text in blocks:
                if "Action: Ping" in text or "Ping: Pong" in text:
                    continue
                for line in text.split(EOL):
                    hidden = line.partition(":")[0] + ": right" if line.startswith("Secret:") else line
                    self._lines.append(f"{side} {hidden}".rstrip())
                self._lines.append(side)
        writer.close()


async def record() -> None:
    """Plays the whole story on the embedded Asterisk, once per topology, and writes it down."""
    from connector.domain.calls import Mode
    from connector.domain.errors import AlreadyTaken
    from web.demo.asterisk import Ami, provide

    from .adapter import engage, watched
    from .lab import TOPOLOGIES, Lab

    async def pause() -> None:
        await asyncio.sleep(0.5)

    async with Lab(await provide(print)) as lab, Recorder(lab.pbx.ami.port) as recorder:
        through = Ami(lab.pbx.ami.host, recorder.port, lab.pbx.ami.user, lab.pbx.ami.secret)
        for topology in TOPOLOGIES:
            recorder.step("connect")
            async with watched(lab, "recorded", through) as adapter:
                recorder.step("call")
                lab_call = await lab.call(topology, hook="acme,sales,ref-1,")
                call = await adapter.call(lab_call)
                await pause()
                recorder.step("takeover")
                agent = await engage(adapter, lab, call, Mode.TAKEOVER)
                await pause()
                recorder.step("snapshot")
                await adapter.pbx.snapshot()
                recorder.step("refused")
                with suppress(AlreadyTaken):
                    await engage(adapter, lab, call, Mode.BARGE)
                await pause()
                for mode in (Mode.WHISPER, Mode.BARGE, Mode.MONITOR, Mode.TAKEOVER):
                    recorder.step(mode.value if mode is not Mode.TAKEOVER else "takeover-again")
                    await adapter.pbx.switch(agent.engaged, mode)
                    await pause()
                recorder.step("dtmf")
                lab_call.caller.media.send_dtmf("5")
                await pause()
                recorder.step("release")
                await adapter.pbx.release(agent.engaged)
                await pause()
                recorder.step("takeover-before-ai-hangup")
                agent = await engage(adapter, lab, call, Mode.TAKEOVER)
                await pause()
                recorder.step("ai-hangup")
                await lab_call.ai.hangup()
                await pause()
                recorder.step("snapshot-paired")
                await adapter.pbx.snapshot()
                recorder.step("fallback")
                agent.leg.abort()
                await pause()
                recorder.step("caller-hangup")
                await lab_call.hangup()
                await pause()
                recorder.step("call-without-hook")
                lab_call = await lab.call(topology, ai_hook=False, options="g")
                call = await adapter.call(lab_call)
                recorder.step("transfer")
                await adapter.pbx.transfer(call, "support")
                await pause()
                await lab_call.hangup()
                await pause()
            recorder.write(topology.lower())


def main(arguments: Sequence[str]) -> int:
    if list(arguments) != ["--record"]:
        print("usage: python -m tests.support.fake_ami --record", file=sys.stderr)
        return 2
    asyncio.run(record())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
