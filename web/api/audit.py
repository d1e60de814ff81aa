"""Who did what: page by page, or all of it as CSV or JSON lines. Reading it is itself on record.

Who is restricted to some tenants or queues reads the acts on their calls, and no others.
"""

import csv
import io
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from aiohttp import web
from typing_extensions import TypedDict

from connector.domain.calls import CallId
from connector.store import Store
from connector.store.trail import Done, Wanted

from ..errors import BadRequest, Fault
from ..faults import shown
from ..messages import moment
from ..routing import Ask, Route
from ..views import dumps, stamp

MAX_LIMIT = 500
_LIMIT = 100
_SLUG = re.compile(r"[a-z0-9-]{1,64}")
_FILTERS = ("call", "actor", "act", "result", "since", "until")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection)."""
COLUMNS = ("number", "at", "ended_at", "actor", "actor_name", "act", "call", "result", "facts")


class ActJson(TypedDict):
    number: int
    """Its place in the chain."""
    at: str
    ended_at: str | None
    actor: str
    actor_name: str
    """Empty for somebody who is not known any more."""
    act: str
    call: str | None
    result: str | None
    """``ok`` or a reason; null when there is no outcome (yet)."""
    facts: dict[str, str]


class AuditJson(TypedDict):
    audit: list[ActJson]
    """The latest first."""
    next: str | None
    """The `cursor` of the next page; null on the last."""


def audit_routes(store: Store) -> list[Route]:
    """The routes of supervisors."""

    async def read(ask: Ask) -> Mapping[str, Any]:
        wanted, names = await asked(ask)
        limit = _number(ask, "limit", _LIMIT, MAX_LIMIT)
        before = _number(ask, "cursor", None, 2**63 - 1)
        acts = await store.audit.acts(wanted, before, limit)
        more = str(acts[-1].number) if len(acts) == limit else None
        return {"audit": [_act(act, names) for act in acts], "next": more}

    async def export(ask: Ask) -> web.StreamResponse:
        wanted, names = await asked(ask)
        kind = ask.request.query.get("format", "csv")
        form = _FORMS.get(kind)
        if form is None:
            raise BadRequest(Fault("query format", shown(kind), f"known are {', '.join(_FORMS)}"))
        content_type, line, first = form
        response = web.StreamResponse(
            headers={"Content-Type": content_type, "Content-Disposition": f'attachment; filename="audit.{kind}"'}
        )
        await response.prepare(ask.request)
        await response.write(first.encode())
        async for acts in _pages(store, wanted):
            await response.write("".join(line(_act(act, names)) for act in acts).encode())
        await response.write_eof()
        return response

    async def asked(ask: Ask) -> tuple[Wanted, Mapping[str, str]]:
        """What is wanted, and who is who."""
        query = ask.request.query
        accounts = await store.accounts.list()
        tokens = await store.tokens.list()
        names = {one.id: one.username for one in accounts} | {f"token:{one.id}": one.name for one in tokens}
        actor = query.get("actor")
        actors = None if actor is None else [actor, *(id_ for id_, name in names.items() if name == actor)]
        call = CallId(query["call"]) if "call" in query else None
        since, until = _time(ask, "since"), _time(ask, "until")
        wanted = Wanted(
            call,
            actors,
            _slug(ask, "act"),
            _slug(ask, "result"),
            since,
            until,
            ask.actor.tenants,
            ask.actor.queues,
        )
        return wanted, names

    def facts(ask: Ask) -> Mapping[str, str]:
        return {name: value[:256] for name, value in ask.request.query.items()}

    path = "/api/v1/audit"
    return [
        Route(
            "GET",
            path,
            "read-audit",
            read,
            "Who did what, the latest first",
            answer=AuditJson,
            query=(*_FILTERS, "limit", "cursor"),
            record="first",
            facts=facts,
        ),
        Route(
            "GET",
            f"{path}/export",
            "read-audit",
            export,
            "Who did what, as a file: format=csv or jsonl",
            content=("text/csv", "application/x-ndjson"),
            query=(*_FILTERS, "format"),
            record="first",
            word="export-audit",
            facts=facts,
        ),
    ]


async def _pages(store: Store, wanted: Wanted) -> AsyncIterator[Sequence[Done]]:
    before: int | None = None
    while acts := await store.audit.acts(wanted, before, MAX_LIMIT):
        yield acts
        before = acts[-1].number


def _act(act: Done, names: Mapping[str, str]) -> ActJson:
    return {
        "number": act.number,
        "at": stamp(act.at),
        "ended_at": stamp(act.ended_at) if act.ended_at is not None else None,
        "actor": act.actor,
        "actor_name": names.get(act.actor, ""),
        "act": act.act,
        "call": act.call,
        "result": act.result,
        "facts": dict(act.facts),
    }


def _json_line(act: ActJson) -> str:
    return dumps(act) + "\n"


def _csv_line(act: ActJson) -> str:
    values: Mapping[str, Any] = {**act, "facts": dumps(act["facts"])}
    return _csv([_cell(values[name]) for name in COLUMNS])


def _cell(value: Any) -> str:
    """What a spreadsheet must not take for a formula begins with an apostrophe."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _csv(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)  # RFC 4180: CRLF, quotes doubled
    return line.getvalue()


_FORMS: Mapping[str, tuple[str, Callable[[ActJson], str], str]] = {
    "csv": ("text/csv; charset=utf-8", _csv_line, _csv(COLUMNS)),
    "jsonl": ("application/x-ndjson; charset=utf-8", _json_line, ""),
}


def _slug(ask: Ask, name: str) -> str | None:
    text = ask.request.query.get(name)
    if text is not None and not _SLUG.fullmatch(text):
        raise BadRequest(Fault(f"query {name}", shown(text), "use lower-case letters, digits and hyphens"))
    return text


def _number(ask: Ask, name: str, default: Any, largest: int) -> Any:
    text = ask.request.query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,19}", text) or not 1 <= int(text) <= largest:
        raise BadRequest(Fault(f"query {name}", shown(text), f"give a number from 1 to {largest}"))
    return int(text)


def _time(ask: Ask, name: str) -> datetime | None:
    text = ask.request.query.get(name)
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise BadRequest(Fault(f"query {name}", shown(text), "give a time with its zone, like 2026-01-31T12:00:00Z"))
    try:
        return moment(at)
    except ValueError as error:
        raise BadRequest(Fault(f"query {name}", shown(text), str(error))) from None
