"""The takeover machine keeps its promises in every world that can be reached, and the walk would notice if it did not.

The seeded faults are changes of the machine's own source, one line each: what a tired programmer would write.
"""

import inspect
import types

import pytest

from connector.domain import takeover

from .failing_pbx import explore

SEEDED = {
    "takes stale answers": (
        "return _done(state) if seq == state.seq else (state, ())",
        "return _done(state)",
    ),
    "ends when the engaging is refused": (
        "        case Doing.ENGAGING:\n            return _leave(state, why)\n        case Doing.GIVING_BACK if",
        "        case Doing.ENGAGING:\n            return _end(state, why)\n        case Doing.GIVING_BACK if",
    ),
    "ends when the engaging is lost": (
        "        case Doing.ENGAGING:\n            return _leave(state, why)\n        case Doing.SWITCHING:\n",
        "        case Doing.ENGAGING:\n            return _end(state, why)\n        case Doing.SWITCHING:\n",
    ),
    "leaves without giving back": (
        "    return _give_back(leaving)\n",
        "    return _end(leaving, why)\n",
    ),
    "takes a refused giving back for done": (
        "            return _give_back(replace(state, tries=state.tries + 1))",
        "            return _end(state, why)",
    ),
    "takes a lost giving back for done": (
        "        case Doing.GIVING_BACK if not state.closed:\n            return _close(state)",
        "        case Doing.GIVING_BACK if not state.closed:\n            return _end(state, why)",
    ),
    "takes a closed patch for an agent who is out": (
        "            return _resume(state)  # closed",
        "            return _end(state, state.why)  # closed",
    ),
    "takes a lost switch for done": (
        "        case Doing.SWITCHING:\n            return _verify(state)",
        "        case Doing.SWITCHING:\n            return _settle(state, state.wanted)",
    ),
    "takes a lost switch for refused": (
        "        case Doing.SWITCHING:\n            return _verify(state)",
        "        case Doing.SWITCHING:\n            return _settle(state, state.mode)",
    ),
    "is active before the PBX confirmed": (
        "    return replace(asked, doing=Doing.SWITCHING), (",
        "    return replace(asked, phase=Phase.ACTIVE, mode=state.wanted, doing=Doing.SWITCHING), (",
    ),
    "is not pessimistic about the mute": (
        "    muted = state.ai_muted or (state.wanted is Mode.TAKEOVER and state.ai_present)",
        "    muted = state.ai_muted",
    ),
    "gives up the floor when it asks to listen": (
        "(state.mode.speaks or state.wanted.speaks)",
        "state.wanted.speaks",
    ),
    "believes that nothing happened while the PBX was away": (
        "        return (replace(state, shaken=False), ()) if mode is state.mode else _verify(state)",
        "        return state, ()",
    ),
    "believes an answer from before the connection was lost": (
        "    if state.shaken:\n        return _verify(state)\n",
        "",
    ),
    "gives up giving back when the PBX is away": (
        "    return _resume(state) if idle else (state, ())",
        "    return state, ()",
    ),
    "never tries again": (
        "return _resume(state) if _awaited(state, seq, Doing.WAITING) else (state, ())",
        "return state, ()",
    ),
    "does not hear that the agent has left": (
        "        case CallerLeft(why) | AgentLeft(why):\n            return _end(state, why)",
        (
            "        case CallerLeft(why) | AgentLeft(why):\n"
            "            return (state, ()) if isinstance(input_, AgentLeft) else _end(state, why)"
        ),
    ),
    "does not hear that the caller has left": (
        "        case CallerLeft(why) | AgentLeft(why):\n            return _end(state, why)",
        (
            "        case CallerLeft(why) | AgentLeft(why):\n"
            "            return (state, ()) if isinstance(input_, CallerLeft) else _end(state, why)"
        ),
    ),
    "believes an answer from before the agent left": (
        "            return replace(state, shaken=True), ()\n        case PatchLost",
        "            return state, ()\n        case PatchLost",
    ),
    "listens without a record": (
        "    if not recorded and not matters:",
        "    if not recorded and False:",
    ),
    "forgets the emergency record": (
        "(Engage(seq, state.wanted, emergency=not recorded),)",
        "(Engage(seq, state.wanted, emergency=False),)",
    ),
    "changes the mode of a pair whose AI is gone": (
        "    if not connecting and not state.ai_present:",
        "    if False:",
    ),
}


def test_every_reachable_world_keeps_the_promises() -> None:
    worlds, fault = explore(takeover)
    assert fault is None
    assert worlds > 50_000, "the model has become too tame to prove anything"


@pytest.mark.parametrize("name", SEEDED)
def test_a_seeded_fault_is_noticed(name: str) -> None:
    original, changed = SEEDED[name]
    source = inspect.getsource(takeover)
    assert source.count(original) == 1, "the seed does not fit the machine's source any more"
    mutant = types.ModuleType("connector.domain.mutant", "A machine with a fault.")
    mutant.__package__ = "connector.domain"
    # Dataclasses look their module up while they are made.
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, mutant.__name__, mutant)
        exec(compile(source.replace(original, changed), f"<{name}>", "exec"), mutant.__dict__)
    _, fault = explore(mutant)
    assert fault is not None
