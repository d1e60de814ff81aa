"""The audit: append-only, chained, written before the effect. Implements `ports.Journal`.

One task writes; whatever waits goes into the store in one transaction, so many acts cost one disk sync. The head of
the chain is copied to the process log after each of them.
"""

import asyncio
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import cast

import structlog
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from ..domain.calls import CallId
from ..domain.errors import BadValue, StoreUnavailable
from . import chain, trail
from .aside import Aside
from .chain import Entry, Fault, Head
from .engine import Database, Writer, unavailable
from .schema import audit, audit_head, stamp
from .trail import AuditRow, Done, Wanted

log = structlog.get_logger(__name__)

RECOVERY_S = 1.0
"""How often the reserve's entries knock at a store that fails."""
COMMIT_S = 3.0
"""A commit that takes longer counts as failed; the row may still appear, as an intent without an outcome."""
# Built once: a takeover waits for them.
_INSERT = insert(audit)
_MOVE_HEAD = (
    update(audit_head)
    .where(audit_head.c.number == bindparam("old"), audit_head.c.mac == bindparam("old_mac"))
    .values(number=bindparam("new"), mac=bindparam("new_mac"))
)
MAX_ROWS = 1_000
PAGE = 100


@dataclass(slots=True)
class _Waiting:
    entry: Entry
    number: asyncio.Future[int]


class Audit:
    """Needs `run` running; `Store` does that."""

    def __init__(self, database: Database, writer: Writer, key: bytes, reserve: Aside) -> None:
        if len(key) < 32:
            raise BadValue("audit key", f"{len(key)} bytes", "use at least 32 random bytes")
        self._database = database
        self._writer = writer
        self._key = key
        self._reserve = reserve
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._head: Head | None = None
        self._emergencies = 0
        self._open: dict[int, Entry] = {}
        self._stored: dict[str, int] = {}
        self._closing = False
        self._recover = asyncio.Event()
        if reserve.entries:
            self._recover.set()

    @property
    def waiting(self) -> int:
        """Emergency records that the store has not got yet: above 0 while it fails."""
        return len(self._reserve.entries)

    # ports.Journal

    async def intent(self, actor: str, act: str, call: CallId | None, facts: dict[str, str]) -> int:
        """Durable on return. Raises `StoreUnavailable`."""
        entry = Entry(_now(), "intent", actor, act, call, facts)
        number = await self._write(entry)
        self._open[number] = entry
        return number

    async def outcome(self, number: int, result: str, facts: dict[str, str]) -> None:
        """Durable on return, also for an emergency intent: in the reserve while that one still waits there."""
        intent = self._open.pop(number, None)
        actor, act, call = (intent.actor, intent.act, intent.call) if intent else ("", "", None)
        entry = Entry(_now(), "outcome", actor, act, call, {"result": result} | facts)
        if number >= 0 or intent is None or intent.reserve is None:
            await self._write(replace(entry, refers=number))
            return
        stored = self._stored.get(intent.reserve)
        if stored is None:
            facts_of = {**entry.facts, "of": intent.reserve}
            await self._set_aside(replace(entry, facts=facts_of, reserve=uuid.uuid4().hex))
        else:
            await self._write(replace(entry, refers=stored))

    async def emergency_intent(self, actor: str, act: str, call: CallId | None, facts: dict[str, str]) -> int:
        """Into the process log at once and into the reserve, whose disk has a moment; the number is negative. Never
        raises."""
        self._emergencies += 1
        number = -self._emergencies
        entry = Entry(_now(), "intent", actor, act, call, facts, reserve=uuid.uuid4().hex)
        self._open[number] = entry
        await self._set_aside(entry)
        return number

    # Reading

    async def read(
        self,
        call: CallId | None = None,
        actor: str | None = None,
        since: datetime | None = None,
        limit: int = MAX_ROWS,
    ) -> Sequence[AuditRow]:
        """The latest rows that match all conditions, oldest first. Outcomes carry their intent's actor and call."""
        return await trail.rows(self._database, call, actor, since, min(limit, MAX_ROWS))

    async def acts(self, wanted: Wanted, before: int | None = None, limit: int = PAGE) -> Sequence[Done]:
        """Acts with what came of them, the latest first, below the number `before`; at most `limit`."""
        return await trail.acts(self._database, wanted, before, min(limit, MAX_ROWS))

    async def whose(self, call: CallId) -> Mapping[str, str]:
        """Tenant and queue of a call, as the latest act on it says; nothing where no act does."""
        return await trail.whose(self._database, call)

    async def head(self) -> Head:
        """The end of the chain, as the store keeps it."""
        return await trail.head(self._database)

    async def verify(self, key: bytes | None = None, head: Head | None = None) -> list[Fault]:
        """Walks the whole chain, row by row, beside a service that goes on writing.

        `head` is one copied from the process log: it shows a tail that was cut off together with the kept head.
        """
        return await trail.verify(self._database, key or self._key, head)

    # Writing

    async def run(self) -> None:
        """Writes what waits, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._recover_reserve())
            while True:
                batch = [await self._queue.get()]
                while not self._queue.empty():
                    batch.append(self._queue.get_nowait())
                await self._write_batch(batch)
                for _ in batch:
                    self._queue.task_done()

    async def settle(self) -> None:
        """Takes nothing new and waits (bounded) until what was accepted is written."""
        self._closing = True
        try:
            async with asyncio.timeout(COMMIT_S):
                await self._queue.join()
        except TimeoutError:
            log.critical("audit.unwritten-at-exit", entries=self._queue.qsize())

    async def _write(self, entry: Entry) -> int:
        if self._closing:
            raise StoreUnavailable("it is being closed")
        waiting = _Waiting(entry, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(waiting)
        return await waiting.number

    async def _write_batch(self, batch: Sequence[_Waiting]) -> None:
        wanted = [waiting for waiting in batch if not waiting.number.done()]  # the others' askers have gone
        numbers: list[int] = []
        why = ""
        try:
            numbers = await self._append([waiting.entry for waiting in wanted])
        except StoreUnavailable as error:
            why = error.why
        except Exception as error:  # a fault in one batch must not end the writer: every later act would hang
            log.exception("audit.fault")
            why = f"an internal fault: {error!r}"
        for index, waiting in enumerate(wanted):
            if waiting.number.done():
                continue
            if why:
                waiting.number.set_exception(StoreUnavailable(why))
            else:
                waiting.number.set_result(numbers[index])
        if numbers:  # after those who wait for it
            log.info("audit.head", head=str(self._head))

    async def _append(self, entries: Sequence[Entry]) -> list[int]:
        if not entries:
            return []
        try:
            async with asyncio.timeout(COMMIT_S):
                numbers, head = await self._writer.run(lambda connection: self._append_in(connection, entries))
        except TimeoutError as error:
            self._head = None
            raise StoreUnavailable(f"no commit within {COMMIT_S:g} s") from error
        except IntegrityError as error:  # another node wrote the same row in the same moment
            self._head = None
            raise unavailable(error) from error
        except StoreUnavailable:
            self._head = None
            raise
        self._head = head
        return numbers

    def _append_in(self, connection: Connection, entries: Sequence[Entry]) -> tuple[list[int], Head]:
        rows, head = self._rows(self._head or Head(), entries)
        if self._head is None or not _advance(connection, self._head, head):
            # Somebody else wrote (the command line, another node): take the row's lock, then read.
            connection.execute(update(audit_head).values(number=audit_head.c.number))
            row = connection.execute(select(audit_head)).mappings().one()
            before = Head(row["number"], row["mac"])
            rows, head = self._rows(before, entries)
            _advance(connection, before, head)
        connection.execute(_INSERT, rows)
        return [cast("int", row["number"]) for row in rows], head

    def _rows(self, before: Head, entries: Sequence[Entry]) -> tuple[list[dict[str, object]], Head]:
        rows: list[dict[str, object]] = []
        head = before
        for entry in entries:
            number = head.number + 1
            of = entry.facts.get("of") if entry.reserve is not None else None
            linked = replace(entry, refers=self._stored.get(of)) if of else entry
            head = Head(number, chain.mac(self._key, head.mac, number, linked))
            rows.append(_columns(number, linked, head.mac))
        return rows, head

    # The reserve

    async def _set_aside(self, entry: Entry) -> None:
        facts = dict(entry.facts)
        log.warning(
            "audit.reserve", act=entry.act, actor=entry.actor, call=entry.call, reserve=entry.reserve, facts=facts
        )
        self._recover.set()
        await self._reserve.add(
            {
                "at": entry.at,
                "kind": entry.kind,
                "actor": entry.actor,
                "act": entry.act,
                "call": entry.call,
                "facts": facts,
                "reserve": entry.reserve,
            }
        )

    async def _recover_reserve(self) -> None:
        while True:
            await self._recover.wait()
            while self._reserve.entries:
                try:
                    await self._flush()
                except StoreUnavailable as error:
                    log.warning("audit.reserve-waits", entries=len(self._reserve.entries), why=error.why)
                    await asyncio.sleep(RECOVERY_S)
            self._recover.clear()

    async def _flush(self) -> None:
        aside = self._reserve.entries
        waiting = [_reserved(entry) for entry in aside]
        ids = [entry.reserve for entry in waiting]
        known = await self._database.rows(select(audit.c.reserve, audit.c.number).where(audit.c.reserve.in_(ids)))
        self._stored.update({row["reserve"]: row["number"] for row in known})
        for entry in waiting:
            if entry.reserve is not None and entry.reserve not in self._stored:
                self._stored[entry.reserve] = await self._write(entry)
        if await self._reserve.forget(aside):
            awaited = {entry.reserve for entry in self._open.values()}
            self._stored = {id_: number for id_, number in self._stored.items() if id_ in awaited}


def _advance(connection: Connection, before: Head, after: Head) -> bool:
    """Moves the kept head, if it is still `before`."""
    facts = {"old": before.number, "old_mac": before.mac, "new": after.number, "new_mac": after.mac}
    return connection.execute(_MOVE_HEAD, facts).rowcount == 1


def _now() -> str:
    return stamp(datetime.now(UTC))


def _columns(number: int, entry: Entry, mac: str) -> dict[str, object]:
    return {
        "number": number,
        "at": entry.at,
        "kind": entry.kind,
        "refers": entry.refers,
        "actor": entry.actor,
        "act": entry.act,
        "call": entry.call,
        "facts": chain.canonical(entry.facts),
        "reserve": entry.reserve,
        "mac": mac,
        "tenant": trail.place(entry, "tenant"),
        "queue": trail.place(entry, "queue"),
    }


def _reserved(raw: Mapping[str, object]) -> Entry:
    """What `_set_aside` wrote; its HMAC has been checked."""
    fields = cast("dict[str, str]", raw)
    facts = cast("dict[str, str]", raw["facts"])
    kind = cast("chain.Kind", fields["kind"])
    return Entry(fields["at"], kind, fields["actor"], fields["act"], fields["call"], facts, reserve=fields["reserve"])
