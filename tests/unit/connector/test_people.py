"""Who may do what: the table, row by row."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

import pytest

from connector.domain.calls import Ai, Call, Channels, Party, Topology, call_id
from connector.domain.people import PERMISSIONS, WHOLE_HOUSE, Act, Actor, ActorRole, Allowed, Denied, may

ACTS: tuple[Act, ...] = get_args(Act)
LISTENING = {"see", "monitor", "whisper", "read-transcript"}
AGENT = LISTENING | {
    "barge",
    "takeover",
    "hangup",
    "transfer",
    "dtmf",
    "escalate",
    "coach",
    "wrap-up",
    "open-leg",
    "listen-events",
}
EXPECTED: dict[ActorRole, set[str]] = {
    "ai": {"see", "read-transcript", "write-transcript", "escalate", "listen-events"},
    "agent": AGENT,
    "supervisor": AGENT | {"override", "read-audit", "read-metrics"},
    "admin": AGENT | {"override", "read-audit", "read-metrics", "administer"},
    "metrics": {"read-metrics"},
}
CALL = Call(
    call_id("main", "1"),
    "main",
    Channels("c", "1"),
    Party(),
    Ai("bot"),
    datetime(2026, 1, 31, tzinfo=UTC),
    Topology.DIALLED,
    (),
    tenant="acme",
    queue="sales",
)


def actor(role: ActorRole) -> Actor:
    return Actor("x", "X", role, ai="bot" if role == "ai" else "")


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("role", PERMISSIONS)
def test_the_table(role: ActorRole, act: Act) -> None:
    for call in (None, CALL):
        assert isinstance(may(actor(role), act, call), Allowed) is (act in EXPECTED[role])
        assert bool(may(actor(role), act, call)) is (act in EXPECTED[role])


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("role", PERMISSIONS)
def test_nobody_reaches_another_queue_tenant_or_ai(role: ActorRole, act: Act) -> None:
    someone = actor(role)
    strangers = [
        replace(someone, queues=frozenset({"billing"})),
        replace(someone, tenants=frozenset({"other"})),
        replace(someone, queues=frozenset()),
        replace(someone, tenants=frozenset()),
    ]
    if role == "ai":
        strangers.append(replace(someone, ai="another bot"))
    for stranger in strangers:
        assert isinstance(may(stranger, act, CALL), Denied)


def test_a_denial_says_why() -> None:
    denied = may(actor("agent"), "read-audit")
    assert denied == Denied("The role 'agent' may not read-audit.")


@pytest.mark.parametrize("act", sorted(WHOLE_HOUSE))
def test_who_is_restricted_to_some_tenants_or_queues_has_nothing_to_do_with_the_whole_house(act: Act) -> None:
    someone = actor("admin")
    assert isinstance(may(someone, act), Allowed)
    for restricted in (replace(someone, tenants=frozenset({"acme"})), replace(someone, queues=frozenset({"sales"}))):
        denied = may(restricted, act)
        assert denied == Denied(f"To {act} is about every tenant and queue; you belong to some of them.")
