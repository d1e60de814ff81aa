"""ESL as bytes and text: bytes in, messages out; facts in, commands out. Pure.

A message of the event socket is a block of headers, an empty line, and as many bytes of body as ``Content-Length``
says. The body of an event is such a block again, its values percent-encoded. So headers are split first and decoded
then: the other way round, a caller's name with ``%0A`` in it would bring its own ``Unique-ID``.

Whatever reaches ESL passes an allow-list for its field: ESL has its own syntax (braces, brackets, commas, semicolons,
quotes, dollar, spaces, and the slash of `hash`), and a line break starts another command.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from ..adapter.guards import COMMON, CONTROL, Allowed, check, encoded
from ..domain.calls import Mode
from ..domain.errors import BadValue

MAX_HEAD = 256 * 1024
"""Bytes of one block of headers: a channel with hundreds of variables has some 20 KiB."""
MAX_BODY = 64 * 1024 * 1024
"""Bytes of one body: `show channels` of a large site."""
EVENTS = (
    "CHANNEL_CREATE CHANNEL_ANSWER CHANNEL_BRIDGE CHANNEL_UNBRIDGE CHANNEL_HANGUP_COMPLETE CHANNEL_EXECUTE"
    " CHANNEL_EXECUTE_COMPLETE MEDIA_BUG_START MEDIA_BUG_STOP DTMF BACKGROUND_JOB SHUTDOWN"
)
SUBCLASSES = (
    "takeover::call takeover::mode takeover::refused takeover::paired takeover::fallback takeover::request"
    " takeover::transferred conference::maintenance"
)
CONTEXT = "takeover"
PAIR = "takeover_pair"
EXTENSIONS = (PAIR, "takeover_hold", "takeover_fallback")
"""What our dialplan include must define on the PBX before anybody can engage."""
DEADMAN_CAUSE = "RECOVERY_ON_TIMER_EXPIRE"
SILENT_CAUSE = "MEDIA_TIMEOUT"
UNSET = "_undef_"
"""What `uuid_getvar` says of a variable that is not set."""


class Malformed(Exception):
    """The bytes are no ESL; the text says why."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message, or one event. Header names are lower-cased; of a repeated header the first counts. But an event
    with two ``Unique-ID`` is about no channel: a comma in what a dialplan gives to its `event` can add one."""

    headers: Mapping[str, str]
    body: str = ""

    def __getitem__(self, key: str) -> str:
        """The header's value, empty when it is absent."""
        return self.headers.get(key, "")

    @property
    def kind(self) -> str:
        """The content type of a message; an event has none of its own."""
        return self.headers.get("content-type", "")

    @property
    def event(self) -> str:
        """The event's name; of a CUSTOM one, its subclass."""
        name = self.headers.get("event-name", "")
        return self.headers.get("event-subclass", "") if name == "CUSTOM" else name

    def variable(self, name: str) -> str:
        """A channel variable that came with the event; empty when it is absent."""
        return self.headers.get(f"variable_{name}", "")


class Reader:
    """Bytes in any pieces -> messages. Sans I/O. What is incomplete at the end of a connection never was."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._head: dict[str, str] | None = None
        self._length = 0

    def feed(self, data: bytes) -> Iterator[Message]:
        """Raises `Malformed` after the last good message; then the connection is of no more use."""
        self._rest += data
        while True:
            if self._head is None:
                end = self._rest.find(b"\n\n")
                if end < 0:
                    if len(self._rest) > MAX_HEAD:
                        raise Malformed(f"{len(self._rest)} bytes without the end of a header: is this an ESL port?")
                    return
                head = _headers(self._rest[:end].decode("utf-8", "replace"), encoded=False)
                del self._rest[: end + 2]
                self._length = _length(head.get("content-length", "0"))
                self._head = head
            if len(self._rest) < self._length:
                return
            body = bytes(self._rest[: self._length])
            del self._rest[: self._length]
            message, self._head = _message(self._head, body), None
            if message.headers:
                yield message


def _length(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > MAX_BODY:
        raise Malformed(f"Content-Length {text[:20]!r}: a number up to {MAX_BODY} is expected")
    return int(text)


def _message(head: Mapping[str, str], body: bytes) -> Message:
    text = body.decode("utf-8", "replace")
    return parse_event(text) if head.get("content-type") == "text/event-plain" else Message(head, text)


def parse_event(text: str) -> Message:
    """Reads an event in plain format, with its own body if it has one."""
    head, _, body = text.partition("\n\n")
    return Message(_headers(head, encoded=True), body)


def _headers(text: str, encoded: bool) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in text.split("\n"):
        key, colon, value = line.partition(":")
        if not colon:
            continue
        key, value = key.strip().lower(), value.strip()
        value = unquote(value, errors="replace") if encoded and "%" in value else value
        if headers.setdefault(key, value) != value and key == "unique-id":
            headers[key] = ""
    return headers


# ---- what reaches ESL ----

_ALLOWED: Allowed = {
    **COMMON,
    "unique id": (re.compile(r"[A-Za-z0-9_.:@-]{1,128}"), "give a channel's uuid"),
    "profile": (re.compile(r"[A-Za-z0-9_.-]{1,64}"), "name a SIP profile such as internal"),
    "destination": (
        re.compile(r"[A-Za-z0-9_.-]{1,80},[A-Za-z0-9_.+*#-]{1,80}"),
        "write it as context,extension",
    ),
    "after bridge": (re.compile(r"[A-Za-z0-9_.+*#-]{1,80}(?::[A-Za-z0-9_]{1,20}(?::[A-Za-z0-9_.-]{1,80})?)?"), ""),
}
MAX_COMMAND = 4000


def allowed(name: str, value: str) -> str:
    """Returns `value` when the allow-list of the field `name` lets it pass, else raises `BadValue`."""
    return check(_ALLOWED, name, value)


def guard(line: str) -> str:
    """Refuses what could break out of a command's line. Raises `BadValue`."""
    if CONTROL.search(line):
        raise BadValue("ESL command", line[:40], "remove the control characters (a line break would start another)")
    if len(line) > MAX_COMMAND:
        raise BadValue("ESL command", line[:40] + "...", f"shorten it to {MAX_COMMAND} characters")
    return line


def event(subclass: str, **headers: str) -> str:
    """A `sendevent` of ours, told to every service. It carries no ``Unique-ID``: that would queue it into a session."""
    lines = [f"Takeover-{name.capitalize()}: {value}" for name, value in headers.items() if value]
    return "\n".join(["sendevent CUSTOM", f"Event-Subclass: {subclass}", *lines])


EAVESDROP: Mapping[Mode, str] = {Mode.MONITOR: "0", Mode.WHISPER: "1", Mode.BARGE: "3", Mode.TAKEOVER: "3"}
"""The keys of `eavesdrop`: 0 nobody hears the agent, 1 the other side, 3 both. In takeover the AI hears the agent."""


def eavesdrop(leg: str, mode: Mode) -> str:
    """Tells a running `eavesdrop` whom the agent speaks to."""
    return (
        f"sendevent CUSTOM\nEvent-Subclass: takeover::control\nunique-id: {leg}\neavesdrop-command: {EAVESDROP[mode]}"
    )


@dataclass(frozen=True, slots=True)
class Patch:
    """What an agent leg is made of: where it is found, whose call it joins, and how soon its silence ends it.

    `timeout_s`: for how long it is dialled. FreeSWITCH counts turns of the clock's second: a dialling of 1 s that began
    at 12:00:00.95 is given up after 0.05 s (measured), so a whole second less than this is sure.
    """

    host: str
    port: int
    uuid: str
    caller: str
    instance: str
    profile: str
    media_timeout_ms: int
    timeout_s: int
    name: str = ""
    wideband: bool = False
    speaks: bool = False


NARROW, WIDE = "PCMU", "L16@16000h@20i"
"""What a leg is offered. FreeSWITCH has both built in, and L16 at 16 kHz is what the worker's sound is."""


def originate(patch: Patch) -> str:
    """The command that brings an agent's leg to a caller: it hears both, and nobody hears it. One that `speaks` is
    heard by both from its first packet on, if it has the floor at that moment: told so later, it is heard later.

    Without a timer FreeSWITCH passes each packet on as it comes, and not at its own next tick but one: 20 to 40 ms
    sooner. But then it waits for the next one without ever looking at the time; so there is a `pulse` beside the leg.
    """
    uuid, caller = allowed("uuid", patch.uuid), allowed("unique id", patch.caller)
    variables = {
        "absolute_codec_string": WIDE if patch.wideband else NARROW,
        "rtp_timer_name": "none",
        "api_reporting_hook": f"'uuid_kill {pulse_of(uuid)}'",
        "eavesdrop_enable_dtmf": "false",
        "takeover_role": "agent",
        "takeover_call": caller,
        "takeover_instance": allowed("instance", patch.instance),
    }
    if patch.name:
        variables["takeover_name"] = encoded(patch.name)
    if patch.speaks:
        aloud = f"${{cond(x${{hash(select/{CONTEXT}/{caller})}} == x{uuid} ? true : false)}}"
        variables |= dict.fromkeys(_ALOUD, aloud)
    return f"{'expand ' if patch.speaks else ''}{_dial(patch, uuid, variables)} &eavesdrop({caller})"


PULSE_S = 2
"""For how long a pulse is dialled, counted as `Patch.timeout_s` is: 1 to 2 s. For so long a worker may be late on a
busy machine, and for so long at most a caller hears nobody where it and we stand still in the moment of the mute."""


def pulse(patch: Patch) -> str:
    """The command that brings a second leg, which nobody hears and which hears nobody, from the same worker. It is read
    by a timer, so FreeSWITCH ends it soon after the worker's last packet (`media_timeout`), and with it the agent's.
    Where the worker does not even answer, its hook runs after `PULSE_S`."""
    variables = {
        "absolute_codec_string": NARROW,
        "media_timeout": str(patch.media_timeout_ms),
        "api_hangup_hook": f"'uuid_kill {allowed('uuid', patch.uuid)} {SILENT_CAUSE}'",
        "originate_timeout": str(PULSE_S),
        "takeover_role": "pulse",
    }
    return f"{_dial(patch, pulse_of(patch.uuid), variables)} &park()"


def pulse_of(patch: str) -> str:
    """The uuid of a leg's pulse; `media.sip` knows it by this name."""
    return f"{patch}-pulse"


def _dial(patch: Patch, uuid: str, variables: Mapping[str, str]) -> str:
    wanted = {
        "origination_uuid": uuid,
        "origination_caller_id_number": "takeover",
        "origination_caller_id_name": "takeover",
        "originate_timeout": str(patch.timeout_s),
        "ignore_early_media": "true",
        **variables,
    }
    listed = ",".join(f"{name}={value}" for name, value in wanted.items())
    host, port = allowed("host", patch.host), allowed("port", str(patch.port))
    return f"originate {{{listed}}}sofia/{allowed('profile', patch.profile)}/sip:{uuid}@{host}:{port}"


TEST_ROLE = "test"
"""The role of both legs of a call that `takeover doctor` made: no service shows it, or touches it."""
TEST_SILENCE_MS = 3000
"""After which FreeSWITCH ends a leg of a test call: whoever made it is gone."""


def test_call(uuid: str, profile: str, host: str, port: int, seconds: int) -> tuple[str, str]:
    """What ends a call in any case after `seconds` (to be sent first, its group is the uuid), and what makes it: the
    caller, ``sip:caller-UUID``, is bridged with the AI, ``sip:ai-UUID``, both of them at one SIP port of whoever asks.
    It goes through no dialplan and writes no CDR."""
    allowed("uuid", uuid)
    variables = {
        "origination_caller_id_name": "takeover-doctor",
        "origination_caller_id_number": "takeover-doctor",
        "originate_timeout": "5",
        "ignore_early_media": "true",
        "absolute_codec_string": "PCMU",
        "media_timeout": str(TEST_SILENCE_MS),
        "takeover_role": TEST_ROLE,
        "process_cdr": "false",
    }
    listed = ",".join(f"{name}={value}" for name, value in variables.items())
    place = f"{allowed('host', host)}:{allowed('port', str(port))}"
    caller, ai = (f"sofia/{allowed('profile', profile)}/sip:{role}-{uuid}@{place}" for role in ("caller", "ai"))
    end = f"sched_api +{seconds} {uuid} uuid_kill {uuid}"
    return end, f"originate {{origination_uuid={uuid},{listed}}}{caller} &bridge({{{listed}}}{ai})"


_ALOUD = "eavesdrop_whisper_aleg", "eavesdrop_whisper_bleg"


def quiet(leg: str) -> list[str]:
    """Lets a leg that has to eavesdrop anew be heard by nobody."""
    return [f"uuid_setvar {leg} {name}" for name in _ALOUD]


def again(caller: str) -> str:
    """Where a leg is sent to eavesdrop anew: its bug is the last one then."""
    return f"eavesdrop:{allowed('unique id', caller)} inline"


def deadman(leg: str, seconds: float, number: int) -> tuple[str, str]:
    """Ends a leg after `seconds`, at most one later, unless a later `number` was noted on it by then: FreeSWITCH counts
    whole seconds and begins with the one that is running. The timer is set before its number is noted, so that there
    is always one that counts; those that do not, do nothing."""
    due = f"${{cond(${{uuid_getvar({leg} takeover_due)}} == {number} ? {leg} : nobody)}}"
    timer = f"sched_api +{math.ceil(seconds) + 1} takeover expand uuid_kill {due} {DEADMAN_CAUSE}"
    return timer, f"uuid_setvar {leg} takeover_due {number}"


def is_wide(rate: str) -> bool:
    """Whether this is a rate, in Hz, that carries more than a telephone does."""
    return rate.isascii() and rate.isdigit() and int(rate) >= 16_000


def is_place(after: str) -> bool:
    """Whether this is an administrator's own ``transfer_after_bridge`` that can be put back."""
    return after != UNSET and bool(_ALLOWED["after bridge"][0].fullmatch(after))


def is_id(text: str) -> bool:
    """Whether this can be a channel's uuid."""
    return bool(_ALLOWED["unique id"][0].fullmatch(text))
