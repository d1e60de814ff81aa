"""AMI as text: blocks in, messages out; facts in, actions out. Pure.

An action is a plain mapping that `client` numbers and writes. Whatever reaches AMI passes an allow-list for its
field here, because a line break in a value starts a second action and a comma in a variable a second variable.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..adapter.guards import COMMON, CONTROL, Allowed, check, encoded
from ..domain.calls import Mode
from ..domain.errors import BadValue

Action = Mapping[str, str | Sequence[str]]
"""Header names to values; a sequence becomes one header per item."""

AGENT_CONTEXT = "takeover-agent"
TRANSFER_CONTEXT = "takeover-transfer"
FALLBACK_CONTEXT = "takeover-fallback"
CONTEXTS = (
    AGENT_CONTEXT,
    "takeover-init",
    "takeover-listen",
    "takeover-speak",
    "takeover-fresh",
    "takeover-unstale",
    "takeover-callerhup",
    "takeover-gone",
    TRANSFER_CONTEXT,
    FALLBACK_CONTEXT,
)
"""What our dialplan include must define on the PBX before anybody can engage."""

EVENTS = frozenset(
    {
        "Newchannel",
        "Rename",
        "Hangup",
        "DialBegin",
        "DialEnd",
        "BridgeEnter",
        "BridgeLeave",
        "BlindTransfer",
        "AttendedTransfer",
        "OriginateResponse",
        "UserEvent",
        "DTMFEnd",
        "ChannelTalkingStart",
        "ChannelTalkingStop",
        "Reload",
        "Shutdown",
    }
)
"""The events anybody here reads; the rest is dropped before it is parsed."""


@dataclass(frozen=True, slots=True)
class Message:
    """One AMI block. Header names are lower-cased; of a repeated header the first counts, so that text appended by
    a dialplan cannot overwrite what Asterisk itself said about the channel."""

    headers: Mapping[str, str]
    variables: Mapping[str, str] = field(default_factory=dict)
    """From ``Variable`` and ``ChanVariable`` headers."""

    @property
    def event(self) -> str:
        return self.headers.get("event", "")

    @property
    def ok(self) -> bool:
        """Whether a response says that the action was accepted."""
        return self.headers.get("response", "") in ("Success", "Goodbye")

    def __getitem__(self, key: str) -> str:
        """The header's value, empty when it is absent: AMI leaves out what it does not know."""
        return self.headers.get(key, "")


def parse(block: str) -> Message:
    """Reads one block (without its closing empty line). Lines that are no header are skipped: the banner is one."""
    headers: dict[str, str] = {}
    variables: dict[str, str] = {}
    for line in block.split("\r\n"):
        key, colon, value = line.partition(":")
        if not colon:
            continue
        key, value = key.strip().lower(), value.strip()
        if key in ("variable", "chanvariable"):
            name, _, text = value.partition("=")
            variables.setdefault(name, text)
        else:
            headers.setdefault(key, value)
    return Message(headers, variables)


def event_name(block: str) -> str:
    """The block's event, or nothing for a response: cheap, so that a flood of unread events costs little."""
    return block[7 : block.find("\r\n")].strip() if block.startswith("Event: ") else ""


_KEY = re.compile(r"[A-Za-z][A-Za-z0-9]{0,31}")
MAX_VALUE = 1000


def guard(action: Action) -> None:
    """Refuses what could break out of its header. Raises `BadValue`."""
    for key, value in action.items():
        if not _KEY.fullmatch(key):
            raise BadValue("AMI header name", key, "use letters and digits only")
        for text in (value,) if isinstance(value, str) else value:
            if CONTROL.search(text):
                raise BadValue(key, text, "remove the control characters (a line break would start a second action)")
            if len(text) > MAX_VALUE:
                raise BadValue(key, text[:40] + "...", f"shorten it to {MAX_VALUE} characters")


_ALLOWED: Allowed = {
    **COMMON,
    "channel": (
        re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}/[A-Za-z0-9_.:@;+~#=%*/\[\]-]{1,200}"),
        "give a full channel name such as PJSIP/line-0000002a",
    ),
    "unique id": (re.compile(r"[A-Za-z0-9_.:-]{1,150}"), "give a channel's Uniqueid such as 1700000000.42"),
    "destination": (
        re.compile(r"[A-Za-z0-9_.-]{1,80},[A-Za-z0-9_.+*#-]{1,80},[A-Za-z0-9_]{1,20}"),
        "write it as context,extension,priority",
    ),
    "variable": (re.compile(r"[A-Za-z_]{1,32}(?:\([a-z,]{1,40}\))?"), "name a channel variable or function"),
    "bridge": (re.compile(r"[A-Za-z0-9_.:-]{1,150}"), "give a BridgeUniqueid"),
    "context": (re.compile(r"[A-Za-z0-9_.-]{1,80}"), "give the name of a dialplan context"),
    "number": (re.compile(r"[A-Za-z0-9_.+*#-]{1,80}"), "give a number as it is dialled, without spaces"),
}


def allowed(name: str, value: str) -> str:
    """Returns `value` when the allow-list of the field `name` lets it pass, else raises `BadValue`."""
    return check(_ALLOWED, name, value)


def login(username: str, secret: str) -> Action:
    """Asks only for the event classes that are read here, whatever the account may see."""
    return {
        "Action": "Login",
        "Username": username,
        "Secret": secret,
        "Events": "system,call,user,dtmf,class",
    }


@dataclass(frozen=True, slots=True)
class Patch:
    """What an agent leg is made of: where it is found, whose call it joins, and for how long it lives unattended."""

    host: str
    port: int
    uuid: str
    wideband: bool
    channel_id: str
    caller: str
    caller_id: str
    ai: str
    instance: str
    deadman_s: float
    name: str = ""
    deaf: bool = False
    """Whether the AI hears nothing while this agent has taken over."""


def originate(patch: Patch, mode: Mode, connect_ms: int) -> Action:
    """The one action that brings an agent into a call."""
    port = allowed("port", str(patch.port))
    codec = "slin16" if patch.wideband else "slin"
    variables = {
        "TK_CALLER": allowed("channel", patch.caller),
        "TK_AI": allowed("channel", patch.ai),
        "TK_UID": allowed("unique id", patch.caller_id),
        "TK_INSTANCE": allowed("instance", patch.instance),
        "TK_DEADMAN": f"{patch.deadman_s:g}",
    }
    if patch.name:
        variables["TK_NAME"] = encoded(patch.name)
    if patch.deaf:
        variables["TK_DEAF"] = "1"
    return {
        "Action": "Originate",
        "Channel": f"AudioSocket/{allowed('host', patch.host)}:{port}/{allowed('uuid', patch.uuid)}/c({codec})",
        "ChannelId": allowed("unique id", patch.channel_id),
        "Context": AGENT_CONTEXT,
        "Exten": mode.value,
        "Priority": "1",
        "Async": "true",
        "Timeout": str(connect_ms),
        "Variable": [f"{name}={value}" for name, value in variables.items()],
    }


TEST_CALL = "takeover-doctor-"
"""With this begins the Uniqueid of a caller whom `takeover doctor` made: no service shows his call, or touches it."""


def test_call(channel_id: str, caller: tuple[str, int, str], ai: tuple[str, int, str], seconds: int) -> Action:
    """Originates a caller who dials an AI, both of them AudioSockets (host, port, uuid) of whoever asks: outside of any
    dialplan but ours, and over as soon as that process is, or after `seconds`. It writes no CDR."""
    return {
        "Action": "Originate",
        "Channel": _audiosocket(*caller),
        "ChannelId": allowed("unique id", channel_id),
        "Application": "Dial",
        "Data": f"{_audiosocket(*ai)},5",
        "CallerID": "takeover doctor <doctor>",
        "Async": "true",
        "Timeout": "5000",
        "Variable": [f"TIMEOUT(absolute)={seconds}", "CDR_PROP(disable)=1"],
    }


def number_exists(number: str, context: str) -> Action:
    """Asks whether the dialplan has this number; the answer's value is 1 or 0."""
    return {
        "Action": "Getvar",
        "Variable": f"DIALPLAN_EXISTS({allowed('context', context)},{allowed('number', number)},1)",
    }


def dialled_call(channel_id: str, caller: tuple[str, int, str], number: str, context: str, seconds: int) -> Action:
    """Originates a caller, an AudioSocket (host, port, uuid) of whoever asks, into the site's own dialplan: an ordinary
    call, over as soon as that process is, or after `seconds`."""
    return {
        "Action": "Originate",
        "Channel": _audiosocket(*caller),
        "ChannelId": allowed("unique id", channel_id),
        "Context": allowed("context", context),
        "Exten": allowed("number", number),
        "Priority": "1",
        "CallerID": "takeover doctor <doctor>",
        "Async": "true",
        "Timeout": "5000",
        "Variable": [f"TIMEOUT(absolute)={seconds}"],
    }


def _audiosocket(host: str, port: int, uuid: str) -> str:
    where = f"{allowed('host', host)}:{allowed('port', str(port))}"
    return f"AudioSocket/{where}/{allowed('uuid', uuid)}/c(slin)"


def redirect(channel: str, context: str, exten: str) -> Action:
    return {
        "Action": "Redirect",
        "Channel": allowed("channel", channel),
        "Context": allowed("context", context),
        "Exten": exten,
        "Priority": "1",
    }


def absolute_timeout(channel: str, seconds: float) -> Action:
    return {"Action": "AbsoluteTimeout", "Channel": allowed("channel", channel), "Timeout": f"{seconds:g}"}


def hangup(channel: str) -> Action:
    """`channel`: a full name, or the Uniqueid of a leg whose name is not known yet."""
    return {"Action": "Hangup", "Channel": allowed("channel" if "/" in channel else "unique id", channel)}


def getvar(channel: str, variable: str) -> Action:
    return {
        "Action": "Getvar",
        "Channel": allowed("channel", channel),
        "Variable": allowed("variable", variable),
    }


def set_destination(channel: str, destination: str) -> Action:
    """Tells the `takeover-transfer` context where to send this caller."""
    return {
        "Action": "Setvar",
        "Channel": allowed("channel", channel),
        "Variable": "TK_XFER",
        "Value": allowed("destination", destination),
    }


def play_dtmf(channel: str, digit: str, duration_ms: int) -> Action:
    return {
        "Action": "PlayDTMF",
        "Channel": allowed("channel", channel),
        "Digit": allowed("digits", digit),
        "Duration": str(duration_ms),
    }


def status(variables: Sequence[str], channel: str = "") -> Action:
    """Lists all channels (or one) with these variables of each."""
    action = {"Action": "Status", "Variables": ",".join(allowed("variable", name) for name in variables)}
    return action | {"Channel": allowed("channel", channel)} if channel else action


def bridge_info(bridge: str) -> Action:
    return {"Action": "BridgeInfo", "BridgeUniqueid": allowed("bridge", bridge)}


def show_dialplan(context: str) -> Action:
    return {"Action": "ShowDialPlan", "Context": allowed("context", context)}


PING: Action = {"Action": "Ping"}
CORE_SETTINGS: Action = {"Action": "CoreSettings"}
BRIDGE_LIST: Action = {"Action": "BridgeList"}

_VERSION = re.compile(r"(\d+)\.(\d+)")
Version = tuple[int, int]


def version_of(text: str) -> Version | None:
    """Major and minor of ``AsteriskVersion``; None for a development build, which is newer than all of ours."""
    found = _VERSION.search(text)
    return (int(found[1]), int(found[2])) if found else None


def since(version: Version | None, floor: Mapping[int, int]) -> bool:
    """Whether a feature that came to each release line at minor `floor[major]` is in `version`; later lines have it."""
    if version is None or version[0] > max(floor):
        return True
    return version[0] in floor and version[1] >= floor[version[0]]


SUPPORTED: Mapping[int, int] = {18: 16, 19: 8, 20: 1}
"""`EXPORT()` and the AudioSocket channel driver together."""
WIDEBAND: Mapping[int, int] = {20: 17, 21: 12, 22: 7, 23: 1}
"""AudioSocket at 16 kHz."""
_WIDE = re.compile(r"g722|opus|amrwb|slin(12|16|24|32|44|48|96|192)|silk(12|16|24)|speex(16|32)|siren(7|14)|g719")


def is_wide(formats: str) -> bool:
    """Whether all of a channel's native formats, as `(g722)` or `(g722|opus)`, carry more than 4 kHz."""
    names = formats.strip("()").split("|")
    return all(_WIDE.fullmatch(name) for name in names)
