"""Who heard whom in a test call, how soon, and what helps where that is not as it should be. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ...demo import tones
from ...demo.report import HEARD_SHARE, SILENT_SHARE
from ...demo.voice import Recording

Kind = Literal["asterisk", "freeswitch"]
TONES: Mapping[str, float] = {"caller": tones.CALLER_HZ, "ai": tones.AI_HZ, "agent": tones.AGENT_HZ}
NAMES: Mapping[str, str] = {"caller": "the caller", "ai": "the AI", "agent": "the agent"}
SLOW_MS = 3000.0
"""A hundred times what a switch takes: no caller waits so long without wondering."""
SETTLE_S = 0.4
"""After a switch, before it is counted who hears whom."""
OVERLOADED = "the PBX or this machine is overloaded: `top` on both, and try again"
_WINDOW_MS = tones.WINDOW_S * 1000

Shares = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Phase -> listener -> speaker -> part of the time in which the listener heard the speaker, 0 to 1."""
Table = Mapping[str, Mapping[str, Mapping[str, bool]]]
EXPECTED: Table = {
    "before": {"caller": {"ai": True, "agent": False}, "ai": {"caller": True, "agent": False}},
    "takeover": {
        "caller": {"ai": False, "agent": True},
        "ai": {"caller": True, "agent": True},
        "agent": {"caller": True, "ai": False},
    },
    "after": {"caller": {"ai": True, "agent": False}, "ai": {"caller": True, "agent": False}},
}
"""Phase -> listener -> speaker -> whether the listener is to hear the speaker."""
_WHEN = {"before": "before the takeover", "takeover": "in the takeover", "after": "after the giving back"}


@dataclass(frozen=True, slots=True)
class Ears:
    """What each party received."""

    caller: Recording
    ai: Recording
    agent: Recording


@dataclass(frozen=True, slots=True)
class Moments:
    """When what happened, in seconds on the monotonic clock; the PBX confirmed `engaged` and `returned`."""

    began: float
    asked: float
    engaged: float
    gave_back: float
    returned: float
    ended: float

    @property
    def spans(self) -> Mapping[str, tuple[float, float]]:
        """Phase -> the time in which nothing changes."""
        return {
            "before": (self.began, self.asked),
            "takeover": (self.engaged + SETTLE_S, self.gave_back),
            "after": (self.returned + SETTLE_S, self.ended),
        }


@dataclass(frozen=True, slots=True)
class Times:
    """In ms, from the request to the caller's ear; None where it never happened."""

    ai_silent: float | None
    agent_heard: float | None
    ai_back: float | None


@dataclass(frozen=True, slots=True)
class Wrong:
    """One thing that was not as it should be, and what helps."""

    what: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Tested:
    """What a test call showed. Without `times` it did not come to a takeover."""

    faults: Sequence[Wrong]
    times: Times | None = None
    heard: Shares = field(default_factory=dict)
    whom: str = ""
    """The AI that took a call to the site's own number, and how its leg is called there."""


def heard(ears: Ears, at: Moments) -> Shares:
    """Who heard whom."""
    recordings = {"caller": ears.caller, "ai": ears.ai, "agent": ears.agent}
    return {
        phase: {
            listener: {
                speaker: round(recordings[listener].trace(TONES[speaker], *at.spans[phase]).share(), 3)
                for speaker in speakers
            }
            for listener, speakers in listeners.items()
        }
        for phase, listeners in EXPECTED.items()
    }


def times(ears: Ears, at: Moments, shares: Shares) -> Times:
    """How soon the caller heard the changes."""
    agent = ears.caller.trace(tones.AGENT_HZ, at.asked, at.gave_back)
    ai = ears.caller.trace(tones.AI_HZ, at.asked, at.ended)
    silent = None
    if not _is(shares["takeover"]["caller"]["ai"]):
        last = ai.last(at.gave_back)
        silent = 0.0 if last is None else _ms(last, at.asked) + _WINDOW_MS
    came, back = agent.first(), ai.first(at.gave_back)
    return Times(
        silent,
        None if came is None else _ms(came, at.asked),
        None if back is None or not _is(shares["after"]["caller"]["ai"]) else _ms(back, at.gave_back),
    )


def faults(kind: Kind, shares: Shares, measured: Times) -> Sequence[Wrong]:
    """What is wrong, the first cause first: what already failed before the takeover makes the rest say nothing."""
    for phase in EXPECTED:
        found = {about: what for what, about in _unlike(phase, shares[phase])}
        if NOBODY_CAME in found:  # then the PBX has let the AI speak on, which is right
            found = {NOBODY_CAME: found[NOBODY_CAME]}
        if found:
            causes: dict[str, list[str]] = {}
            for about, what in found.items():
                causes.setdefault(remedy(kind, *about), []).append(what)
            return [Wrong(f"{_WHEN[phase]} {', '.join(told)}", helps) for helps, told in causes.items()]
    slow = {"the agent was heard": measured.agent_heard, "the AI was silent": measured.ai_silent}
    slow["the AI was heard again"] = measured.ai_back
    return [Wrong(f"{what} only after {ms:.0f} ms", OVERLOADED) for what, ms in slow.items() if ms and ms > SLOW_MS]


def refused(kind: Kind, why: str) -> Wrong:
    """The PBX did not let the agent in."""
    return Wrong(f"the takeover failed ({why})", remedy(kind, *NOBODY_CAME))


_About = tuple[str, str, str]
"""Phase, listener, speaker."""
NOBODY_CAME: _About = ("takeover", "caller", "agent")


def _unlike(phase: str, shares: Mapping[str, Mapping[str, float]]) -> Iterator[tuple[str, _About]]:
    for listener, speakers in EXPECTED[phase].items():
        for speaker, wanted in speakers.items():
            share = shares[listener][speaker]
            if (share < HEARD_SHARE) if wanted else (share > SILENT_SHARE):
                verb = "did not hear" if wanted else "heard"
                part = f" (for {share:.0%} of the time)" if share and wanted else ""
                yield f"{NAMES[listener]} {verb} {NAMES[speaker]}{part}", (phase, listener, speaker)


def remedy(kind: Kind, phase: str, listener: str, speaker: str) -> str:
    """What helps where in this phase the listener hears the speaker and should not, or should and does not."""
    table = _REMEDIES[kind]
    if (phase, listener, speaker) == ("takeover", "agent", "ai"):
        listener = "caller"  # who is muted, is muted for both
    return table.get((phase, listener, speaker), table[(phase,)])


_ASTERISK_FILE = (
    "compare extensions_takeover.conf with `takeover dialplan --for asterisk`, and look into Asterisk's log for "
    "[takeover-agent] at this time: `asterisk -rx 'core set verbose 3'` shows each step"
)
_FREESWITCH_FILE = (
    "compare takeover.xml with `takeover dialplan --for freeswitch`, and look into FreeSWITCH's log at this time"
)
_REMEDIES: Mapping[Kind, Mapping[tuple[str, ...], str]] = {
    "asterisk": {
        ("before",): (
            "Asterisk did not connect two AudioSockets: `asterisk -rx 'module show like audiosocket'` and `... like "
            "bridge_` show whether chan_audiosocket, res_audiosocket, bridge_simple and bridge_softmix are loaded"
        ),
        ("takeover", "caller", "ai"): (
            "the AI is not muted: MUTEAUDIO has no effect in [takeover-speak]. `asterisk -rx 'module load "
            "res_mutestream.so'`, and if modules.conf has no autoload, add there: load = res_mutestream.so"
        ),
        ("takeover", "caller", "agent"): (
            "the agent does not get into the bridge: `asterisk -rx 'module load app_bridgeaddchan.so'`, and if "
            "modules.conf has no autoload, add there: load = app_bridgeaddchan.so; all that [takeover-agent] needs is "
            "named at the head of extensions_takeover.conf, and Asterisk's log has the step at which it ended"
        ),
        ("takeover",): (
            "the bridge of three does not mix: `asterisk -rx 'module load bridge_softmix.so'`, and if modules.conf has "
            "no autoload, add there: load = bridge_softmix.so"
        ),
        ("after", "caller", "ai"): f"the AI stays muted: [takeover-gone] did not run to its end; {_ASTERISK_FILE}",
        ("after",): f"the agent's leg is not gone; {_ASTERISK_FILE}",
    },
    "freeswitch": {
        ("before",): (
            "no sound comes through FreeSWITCH's SIP profile: look at its rtp-ip, ext-rtp-ip and at a firewall on the "
            "UDP ports rtp-start-port to rtp-end-port (switch.conf.xml), `fs_cli -x 'sofia status profile NAME'`"
        ),
        ("takeover", "caller", "ai"): (
            "the AI is not muted: `uuid_audio` has no effect; `fs_cli -x 'show api uuid_audio'` must list it "
            "(mod_commands)"
        ),
        ("takeover", "caller", "agent"): (
            "the agent's sound does not get into the call: `eavesdrop` (mod_dptools) must be there, `fs_cli -x 'show "
            f"application eavesdrop'`; {_FREESWITCH_FILE}"
        ),
        ("takeover",): f"the agent's leg is not heard by all, or hears nobody; {_FREESWITCH_FILE}",
        ("after", "caller", "ai"): (
            "the AI stays muted: the agent's leg ended without its api_hangup_hook; " + _FREESWITCH_FILE
        ),
        ("after",): f"the agent's leg is not gone; {_FREESWITCH_FILE}",
    },
}


def _is(share: float) -> bool:
    return share >= HEARD_SHARE


def _ms(moment: float, since: float) -> float:
    return round(max(0.0, moment - since) * 1000, 1)
