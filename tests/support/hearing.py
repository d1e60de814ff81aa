"""What the caller hears at a switch and at a fault, as figures.

All from the windows of 10 ms that arrived at the caller's phone (the kernel's time stamps), against a moment on the
same clock: that in which the client sent its request, or that of the fault. A moment is that of a window's arrival.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from web.demo.rtp import Packet
from web.demo.tones import AGENT_HZ, AI_HZ, HEARD_DBOV, either
from web.demo.voice import Recording

BEFORE_S = 0.1
SETTLED = 3  # windows in a row: one alone could be the edge of something that is dying
SURELY_DBOV = -22.0  # a tone of -12 through two codecs; no speech keeps that in one band for 150 ms
STALL_MS = 120.0  # packets come every 20 ms; a busy machine delays one by 100, the cure of a stalled leg begins at 140


class Unheard(Exception):
    """A tone that had to come did not come in time."""


@dataclass(frozen=True)
class Joined:
    """A takeover, in ms: the agent's first tone, the AI's last, the longest time without either."""

    agent_heard: float
    ai_last_heard: float
    hole: float


@dataclass(frozen=True)
class Returned:
    """A giving back, in ms: the AI's first tone, and the longest time without either tone."""

    ai_heard: float
    hole: float


def first_heard(
    recording: Recording, hertz: float, since: float, until: float, *, in_speech: bool = False
) -> float | None:
    """When a tone is there to stay: the first of some windows in a row with it, at or after `since`.

    `in_speech`: somebody may speak before it, and speech has a little of every frequency.
    """
    trace = recording.trace(hertz, since, until)
    louder, wanted = (SURELY_DBOV, 5 * SETTLED) if in_speech else (HEARD_DBOV, SETTLED)
    run, begun = 0, 0.0
    for at, level in zip(trace.times, trace.levels, strict=True):
        run = run + 1 if level > louder else 0
        if run == 1:
            begun = float(at)
        if run == wanted:
            return begun
    return None


def joined(recording: Recording, sent: float, until: float) -> Joined:
    """From the request for a takeover. Raises Unheard, also when the AI is still heard at the end."""
    came = first_heard(recording, AGENT_HZ, sent, until)
    if came is None:
        raise Unheard(f"the caller did not hear the agent within {until - sent:.2f} s of the request")
    last = recording.trace(AI_HZ, sent, until).last()
    if last is not None and last > until - 0.2:
        raise Unheard("the caller still hears the AI: it was not muted")
    return Joined(
        agent_heard=(came - sent) * 1000,
        ai_last_heard=0.0 if last is None else (last - sent) * 1000,
        hole=_hole(recording, sent, until),
    )


def returned(recording: Recording, sent: float, until: float) -> Returned:
    """From the request to give back. Raises Unheard."""
    came = first_heard(recording, AI_HZ, sent, until)
    if came is None:
        raise Unheard(f"the caller did not hear the AI within {until - sent:.2f} s of the giving back")
    return Returned(ai_heard=(came - sent) * 1000, hole=_hole(recording, sent, until))


def _hole(recording: Recording, sent: float, until: float) -> float:
    since = sent - BEFORE_S
    any_voice = either(*(recording.trace(hertz, since, until) for hertz in (AGENT_HZ, AI_HZ)))
    return any_voice.hole_ms(since, until)


def sequence_breaks(packets: Sequence[Packet], since: float) -> int:
    """Steps of the sequence number other than one between packets of the same SSRC that came after `since`."""
    came = [packet for packet in packets if packet.at >= since]
    return sum(
        (later.sequence - earlier.sequence) & 0xFFFF != 1
        for earlier, later in itertools.pairwise(came)
        if later.ssrc == earlier.ssrc
    )


def longest_gap(packets: Sequence[Packet], since: float, until: float) -> tuple[float, bool]:
    """Longest time without a packet that begins in [since, until), in ms, and whether packets came again after it."""
    edges = [since, *(packet.at for packet in packets if since <= packet.at < until), until]
    gaps = [later - earlier for earlier, later in itertools.pairwise(edges)]
    longest = max(range(len(gaps)), key=gaps.__getitem__)
    return gaps[longest] * 1000, longest < len(gaps) - 1
