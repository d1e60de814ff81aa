"""What a PBX's events mean for the engagements they concern, as inputs of their machines. Pure."""

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet

from ..domain import reasons
from ..domain.calls import CallId
from ..domain.events import AgentGone, AgentPresent, AiGone, CallGone, FellBack, PbxDown, PbxEvent
from ..domain.inputs import AgentLeft, AiLeft, CallerLeft, Input, PbxLost, Seen
from .conductor import Conductor

Whom = Callable[[Conductor], bool]

UNSEEN = "call-ended-unseen"
CALLER_REASONS = {"transferred": "transferred", "unseen": UNSEEN}
"""Why a call is gone, as the reason of its engagements' ends."""
CALLER_ENDS = {"caller-hangup": reasons.CALLER_HANGUP, "transferred": "transferred"}
"""Why an agent's leg was put out, where that is the end of the call for everybody."""


def reports(event: PbxEvent, hung_up: AbstractSet[CallId]) -> Iterator[tuple[Whom, Input]]:
    """Who is to be told what, in this order. `hung_up`: the calls that an agent of ours has hung up."""
    match event:
        case PbxDown(pbx):
            yield lambda c: c.pbx.name == pbx, PbxLost()
        case CallGone(call, why):
            reason = "hangup" if call in hung_up else CALLER_REASONS.get(why, reasons.CALLER_HANGUP)
            yield lambda c: c.call.id == call, CallerLeft(reason)
        case AiGone(call):
            yield lambda c: c.call.id == call, AiLeft()
        case FellBack(call):
            yield lambda c: c.call.id == call, AiLeft()
            yield lambda c: c.call.id == call and c.holds_floor, AgentLeft(reasons.AI_FALLBACK)
        case AgentGone(call, patch, why) if why in CALLER_ENDS:  # told before the caller's own end, and surely
            reason = "hangup" if call in hung_up else CALLER_ENDS[why]
            yield lambda c: c.patch == patch, CallerLeft(reason)
        case AgentGone(_, patch, why):
            reason = reasons.DEADMAN if why == "deadman" else reasons.AGENT_GONE
            yield lambda c: c.patch == patch, AgentLeft(reason)
        case AgentPresent(_, patch, mode=mode):  # perhaps a change that we had given up waiting for
            yield lambda c: c.patch == patch, Seen(None, mode)
        case _:
            pass  # the rest is the registry's alone
