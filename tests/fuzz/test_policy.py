"""Permissions, whatever the roles, queues, tenants and acts: only the rule decides, and less right is never more."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from connector.domain.calls import Ai, Call, Channels, Party, Topology, call_id
from connector.domain.people import PERMISSIONS, Act, Actor, ActorRole, Allowed, Denied, may

acts: st.SearchStrategy[Act] = st.sampled_from(get_args(Act))
roles: st.SearchStrategy[ActorRole] = st.sampled_from(get_args(ActorRole))
names = st.one_of(st.sampled_from(["", "*", "sales", "billing", "default", "bot"]), st.text(max_size=8))
sets = st.frozensets(names, max_size=4)
actors = st.builds(Actor, id=names, name=names, role=roles, queues=sets, tenants=sets, ai=names, origin=names)


@st.composite
def calls(draw: st.DrawFn) -> Call:
    return Call(
        call_id("main", "1"),
        "main",
        Channels("c", "1"),
        Party(),
        Ai(draw(names)),
        datetime(2026, 1, 31, tzinfo=UTC),
        Topology.DIALLED,
        (),
        tenant=draw(names),
        queue=draw(names),
    )


def allowed(actor: Actor, act: Act, call: Call | None) -> bool:
    decision = may(actor, act, call)
    assert isinstance(decision, Allowed) or decision.reason
    return isinstance(decision, Allowed)


@given(actors, acts, calls())
def test_the_decision_is_the_rule(actor: Actor, act: Act, call: Call) -> None:
    covered = all(
        "*" in names or name in names for names, name in ((actor.queues, call.queue), (actor.tenants, call.tenant))
    )
    own = actor.role != "ai" or actor.ai == call.ai.name
    assert allowed(actor, act, call) is (act in PERMISSIONS[actor.role] and covered and own)


@given(actors, acts, calls())
def test_who_may_do_it_to_a_call_may_do_it_at_all(actor: Actor, act: Act, call: Call) -> None:
    if allowed(actor, act, call):
        assert allowed(actor, act, None)


@given(actors, acts, calls(), names)
def test_fewer_queues_or_tenants_are_never_more_right(actor: Actor, act: Act, call: Call, taken: str) -> None:
    less = replace(actor, queues=actor.queues - {taken}, tenants=actor.tenants - {taken})
    assert allowed(actor, act, call) >= allowed(less, act, call)


@given(actors, acts, calls())
def test_each_role_may_all_that_the_one_below_may(actor: Actor, act: Act, call: Call) -> None:
    ladder = [replace(actor, role=role) for role in ("agent", "supervisor", "admin")]
    decisions = [allowed(one, act, call) for one in ladder]
    assert decisions == sorted(decisions)


@given(actors, acts, calls(), names, names)
def test_name_id_and_origin_decide_nothing(actor: Actor, act: Act, call: Call, name: str, origin: str) -> None:
    assert may(replace(actor, name=name, id=name, origin=origin), act, call) == may(actor, act, call)


@given(acts, calls())
def test_an_ai_reaches_no_call_of_another_ai(act: Act, call: Call) -> None:
    stranger = Actor("token", "token", "ai", ai=call.ai.name + "x")
    assert isinstance(may(stranger, act, call), Denied)
