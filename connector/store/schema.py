"""The tables. Times are stored as RFC 3339 text in UTC, which sorts as it reads and is the same everywhere."""

from datetime import UTC, datetime

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text

VERSION = 3
"""Of this schema; kept in `meta`, so that an older program leaves it alone. 2: what tokens reach, whose a call is in
the audit, events that wait for their webhook, when a turn was kept. 3: whose an engagement is, and of which AI; what an
AI has missed (a table of its own, which the program before does not mind)."""
_ALL = '["*"]'
"""Every queue, or every tenant, as it is stored."""

metadata = MetaData()
audit_metadata = MetaData()
"""The audit's tables; on SQLite they lie in a file of their own (see `engine.audit_place`)."""

meta = Table("meta", metadata, Column("key", String(64), primary_key=True), Column("value", Text, nullable=False))

accounts = Table(
    "accounts",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("username", String(128), nullable=False, unique=True),
    Column("name", String(256), nullable=False),
    Column("role", String(16), nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("queues", Text, nullable=False),
    Column("tenants", Text, nullable=False),
    Column("created_at", String(32), nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id_hash", String(128), primary_key=True),
    Column("account", String(32), ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("expires", String(32), nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("role", String(16), nullable=False),
    Column("ai", String(128), nullable=False),
    Column("hash", String(128), nullable=False, unique=True),
    Column("created_at", String(32), nullable=False),
    Column("revoked_at", String(32)),
    Column("queues", Text, nullable=False, server_default=_ALL),
    Column("tenants", Text, nullable=False, server_default=_ALL),
)

engagements = Table(
    "engagements",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("call", String(256), nullable=False, index=True),
    Column("agent", String(64), nullable=False, index=True),
    Column("agent_name", String(256), nullable=False),
    Column("mode", String(16), nullable=False),
    Column("since", String(32), nullable=False),
    Column("ended_at", String(32)),
    Column("ended", String(64)),
    Column("note", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("instance", String(64)),
    Column("ai", Text),
    Column("ai_ref", Text),
)
"""`instance` is the service that the agent came by; who finds it without an end after a crash has to know."""

transcripts = Table(
    "transcripts",
    metadata,
    Column("call", String(256), primary_key=True),
    Column("turn", String(128), primary_key=True),
    Column("speaker", String(16), nullable=False),
    Column("text", Text, nullable=False),
    Column("at", String(32), nullable=False),
    Column("final", Boolean, nullable=False),
    Column("kept_at", String(32)),
)


def _events(name: str) -> Table:
    """Events that wait for those whom they are for, in the order of their numbers."""
    return Table(
        name,
        metadata,
        Column("number", Integer, primary_key=True),
        Column("hook", String(64), nullable=False),
        Column("id", String(64), nullable=False),
        Column("at", Float, nullable=False),
        Column("event", Text, nullable=False),
        Index(f"{name}_event", "hook", "id", unique=True),
    )


outbox = _events("outbox")
"""For webhooks: `hook` is the webhook's name."""

missed = _events("missed")
"""For AIs that are told over a socket: `hook` is the instance of the service that they come to."""

audit = Table(
    "audit",
    audit_metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", String(32), nullable=False),
    Column("kind", String(8), nullable=False),
    Column("refers", Integer),
    Column("actor", String(128), nullable=False),
    Column("act", String(64), nullable=False),
    Column("call", String(256)),
    Column("facts", Text, nullable=False),
    Column("reserve", String(32), unique=True),
    Column("mac", String(64), nullable=False),
    Column("tenant", String(256)),
    Column("queue", String(256)),
    Index("audit_call", "call"),
    Index("audit_actor", "actor"),
    Index("audit_at", "at"),
    Index("audit_refers", "refers"),
    Index("audit_tenant", "tenant", "queue"),
)
"""Append-only. `mac` chains each row to all before it; `reserve` is the id a row had while it waited in the reserve.
`tenant` and `queue` repeat the facts of an act on a call, to be found by; the mac covers the facts."""

audit_head = Table(
    "audit_head",
    audit_metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, nullable=False),
    Column("mac", String(64), nullable=False),
)
"""One row: the last number and its mac. Updating it first serialises writers, on SQLite and on PostgreSQL alike."""


def stamp(at: datetime) -> str:
    """An aware time as it is stored: UTC, microseconds, always the same length."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def unstamp(text: str) -> datetime:
    """The time that `stamp` wrote."""
    return datetime.fromisoformat(text)
