"""The order of media bugs on a caller's own channel, for an AI that is there itself (`ground`).

Each bug works on what those before it left: the AI's voice, then ``audio``, which may silence it, then ``eavesdrop``,
which adds the agent's. Behind the agents' bugs ``audio`` would silence them, and before the AI's it would silence
nobody. So it is placed before the first agent comes, as a placeholder that only makes the caller a little less loud.
"""

import re
from collections.abc import Sequence

from . import wire
from .client import Connection
from .ground import Ground
from .legs import Legs

_FUNCTION = re.compile(r"<function>([^<]*)</function>")
_TARGET = re.compile(r"<function>([^<]*)</function>\s*<target>([^<]*)</target>")
_PLAIN = re.compile(r"[A-Za-z0-9_.:;,/%()=+@~?&-]{1,500}")
PLACEHOLDER = "read level -1"
"""-1.9 dB of what the AI hears. A bug with nothing to do would be taken away by FreeSWITCH."""


def functions(listing: str) -> list[str]:
    """The functions of the bugs in what `uuid_buglist` says, in their order."""
    return _FUNCTION.findall(listing)


async def target(connection: Connection, ground: Ground) -> str:
    """What the AI's media bug works on (a file, an address); empty where it is none, or cannot stand in a command."""
    if not ground.bug:
        return ""
    [listing] = await connection.api(f"uuid_buglist {ground.caller}")
    found = (one for function, one in _TARGET.findall(listing) if function == ground.bug)
    return next((one for one in found if _PLAIN.fullmatch(one)), "")


def in_order(bugs: Sequence[str], ai: str, last: bool = False) -> bool:
    """Whether ``audio`` silences the AI (whose bug's function is `ai`, empty for an application), and no agent; with
    `last`, not the one who came last. Whose an ``eavesdrop`` is, FreeSWITCH does not say."""
    if "audio" not in bugs:
        return False
    place = bugs.index("audio")
    agents = "eavesdrop" in bugs[place:] if last else "eavesdrop" not in bugs[:place]
    return agents and not (ai and ai in bugs[place:])


def placed(ground: Ground) -> str:
    """The command that sees to it that there is a placeholder before an agent's leg comes, without a question first:
    the caller waits. One that silences somebody already is left as it is."""
    caller = ground.caller
    whom = f"${{cond(${{regex(${{uuid_buglist({caller})}}|<function>audio<)}} == true ? nobody : {caller})}}"
    return f"expand uuid_audio {whom} start {PLACEHOLDER}"


async def is_right(connection: Connection, ground: Ground, last: bool = False) -> bool:
    """Whether the bugs stand in the order in which a speaker is heard and the AI is not (see `in_order`)."""
    [listing] = await connection.api(f"uuid_buglist {ground.caller}")
    return in_order(functions(listing), ground.bug, last)


async def renew(connection: Connection, legs: Legs, ground: Ground, leg: str, *mute: str) -> None:
    """Places the silencer anew behind the AI, and a speaker's leg behind that; `mute` is said in between. The agent is
    not heard for about 50 ms. Raises `PbxTimeout`, `PbxUnavailable`."""
    caller = ground.caller
    with legs.watch(caller) as heard:
        await connection.api(
            f"uuid_audio {caller} stop",
            f"uuid_audio {caller} start {PLACEHOLDER}",
            *mute,
            f"uuid_transfer {leg} {wire.again(caller)}",
        )
        await legs.attached(heard)
