"""Reading the audit: acts with what came of them, page by page, and the walk along the chain."""

import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, cast

from sqlalchemy import ColumnElement, select
from sqlalchemy.engine import RowMapping

from ..domain.calls import CallId
from ..domain.people import EVERYTHING
from . import chain
from .chain import Entry, Fault, Head, Walk
from .engine import Database
from .schema import audit, audit_head, stamp, unstamp

WALKED = 500
"""Rows of the audit that a verification holds at a time."""
OPEN = "open"
"""As a result: no outcome yet, or none ever, because the service died in between."""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row as it lies in the chain. `refers` is the intent's number in an outcome."""

    number: int
    at: datetime
    kind: Literal["intent", "outcome"]
    actor: str
    act: str
    call: CallId | None
    facts: Mapping[str, str]
    refers: int | None


@dataclass(frozen=True, slots=True)
class Done:
    """One act: its intent, and its outcome where there is one. `facts` are both rows'."""

    number: int
    at: datetime
    actor: str
    act: str
    call: CallId | None
    facts: Mapping[str, str]
    result: str | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which acts; all conditions hold. `since` is inclusive, `until` is not; `result` may be `OPEN`.

    With `tenants` or `queues` other than all, only acts on calls of these: what is about no call is the whole house's.
    """

    call: CallId | None = None
    actors: Sequence[str] | None = None
    act: str | None = None
    result: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    tenants: AbstractSet[str] = EVERYTHING
    queues: AbstractSet[str] = EVERYTHING


async def rows(
    database: Database, call: CallId | None, actor: str | None, since: datetime | None, limit: int
) -> Sequence[AuditRow]:
    """The latest rows that match all conditions, oldest first."""
    query = select(audit).order_by(audit.c.number.desc()).limit(limit)
    if call is not None:
        query = query.where(audit.c.call == call)
    if actor is not None:
        query = query.where(audit.c.actor == actor)
    if since is not None:
        query = query.where(audit.c.at >= stamp(since))
    return [_audit_row(row) for row in reversed(await database.rows(query))]


async def acts(database: Database, wanted: Wanted, before: int | None, limit: int) -> Sequence[Done]:
    """Acts, the latest first, below the number `before`."""
    intent, outcome = audit.alias("intent"), audit.alias("outcome")
    query = (
        select(intent, outcome.c.at.label("ended_at"), outcome.c.facts.label("result_facts"))
        .outerjoin(outcome, (outcome.c.refers == intent.c.number) & (outcome.c.kind == "outcome"))
        .where(intent.c.kind == "intent")
        .order_by(intent.c.number.desc())
        .limit(limit)
    )
    conditions: list[ColumnElement[bool] | None] = [
        intent.c.number < before if before is not None else None,
        intent.c.call == wanted.call if wanted.call is not None else None,
        intent.c.actor.in_(wanted.actors) if wanted.actors is not None else None,
        intent.c.act == wanted.act if wanted.act is not None else None,
        intent.c.at >= stamp(wanted.since) if wanted.since is not None else None,
        intent.c.at < stamp(wanted.until) if wanted.until is not None else None,
        intent.c.tenant.in_(wanted.tenants) if "*" not in wanted.tenants else None,
        intent.c.queue.in_(wanted.queues) if "*" not in wanted.queues else None,
    ]
    if wanted.result == OPEN:
        conditions.append(outcome.c.number.is_(None))
    elif wanted.result is not None:
        # Facts are canonical JSON: a quote within a value is escaped, so that this can only be the fact itself.
        conditions.append(outcome.c.facts.contains(f'"result":{json.dumps(wanted.result)}', autoescape=True))
    query = query.where(*(condition for condition in conditions if condition is not None))
    return [_done(row) for row in await database.rows(query)]


async def whose(database: Database, call: CallId) -> Mapping[str, str]:
    """Tenant and queue of a call, as the latest act on it says; nothing where no act does."""
    query = select(audit.c.tenant, audit.c.queue).where(audit.c.call == call, audit.c.tenant.is_not(None))
    found = await database.rows(query.order_by(audit.c.number.desc()).limit(1))
    return {"tenant": found[0]["tenant"], "queue": found[0]["queue"] or ""} if found else {}


async def head(database: Database) -> Head:
    """The end of the chain, as the store keeps it."""
    found = await database.rows(select(audit_head))
    return Head(found[0]["number"], found[0]["mac"]) if found else Head()


async def verify(database: Database, key: bytes, journal: Head | None) -> list[Fault]:
    """Walks the whole chain, `WALKED` rows at a time; none is kept."""
    walk = Walk(key, await head(database), journal)
    query = select(audit).order_by(audit.c.number).limit(WALKED)
    found = await database.rows(query)
    while found:
        for row in found:
            walk.step(row["number"], _entry(row), row["mac"])
        found = await database.rows(query.where(audit.c.number > found[-1]["number"]))
    return walk.finish(await head(database))


def _entry(row: RowMapping) -> Entry | None:
    """What a row says; None when its facts are not as they are written."""
    try:
        facts = json.loads(row["facts"])
    except (ValueError, TypeError):
        return None
    if not isinstance(facts, dict) or chain.canonical(facts) != row["facts"]:
        return None
    kind = cast("chain.Kind", row["kind"])
    entry = Entry(row["at"], kind, row["actor"], row["act"], row["call"], facts, row["refers"], row["reserve"])
    places = {name: place(entry, name) for name in ("tenant", "queue")}
    # Outside the mac, so that chains from before these columns hold; but they decide who reads the row.
    return entry if all(row[name] == found for name, found in places.items()) else None


def place(entry: Entry, name: str) -> str | None:
    """The column ``tenant`` or ``queue`` of a row: the fact of that name, where the act is one on a call."""
    return entry.facts.get(name) if entry.call is not None else None


def _audit_row(row: RowMapping) -> AuditRow:
    kind = cast("chain.Kind", row["kind"])
    call = CallId(row["call"]) if row["call"] is not None else None
    facts = json.loads(row["facts"])
    return AuditRow(row["number"], unstamp(row["at"]), kind, row["actor"], row["act"], call, facts, row["refers"])


def _done(row: RowMapping) -> Done:
    after = json.loads(row["result_facts"]) if row["result_facts"] is not None else {}
    result = after.pop("result", None)
    call = CallId(row["call"]) if row["call"] is not None else None
    ended_at = unstamp(row["ended_at"]) if row["ended_at"] is not None else None
    facts = {**json.loads(row["facts"]), **after}
    return Done(row["number"], unstamp(row["at"]), row["actor"], row["act"], call, facts, result, ended_at)
