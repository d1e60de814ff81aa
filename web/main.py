"""The composition root: makes every part, joins connector and media, runs it all in one task group.

A failure of the infrastructure ends the process (the service manager starts it again, and the PBX has given every
call back meanwhile); a failure of one engagement, leg or client ends only that.
"""

import asyncio
import contextlib
import gc
import re
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from urllib.parse import quote

import structlog

from connector.asterisk.pbx import AsteriskPbx
from connector.domain.errors import BadValue, StoreUnavailable
from connector.ports import Journal, Pbx
from connector.services.escalations import Escalations, Means
from connector.services.marks import Marks
from connector.services.notices import Notices
from connector.services.recovery import Recovery
from connector.services.registry import Registry, follow
from connector.services.retention import Keeper, Retention
from connector.services.takeovers import Takeovers
from connector.services.transcripts import Transcripts
from connector.services.whose import PlacedJournal
from connector.store import Store
from media import pool as media

from . import app, configured, pages, stores, webhooks
from .auth import Guard, Site
from .captions import captions
from .errors import StartFailed
from .hub import Hub
from .keyfile import KeyUnusable
from .listening import listening, url_of
from .medialegs import MediaLegs, media_samples
from .metrics import Labels, Sample
from .missed import EndsLast, Missed
from .notify import notify, watchdog_seconds
from .routing import Limits
from .settings import AiPolicy, Settings
from .signalling import Desk
from .version import version

__all__ = ["Service", "StartFailed", "running", "serve"]

log = structlog.get_logger()

_INTRUDERS = 100
"""Connections from elsewhere that may wait for the audit."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running service, for whoever started it."""

    settings: Settings
    url: str
    """Where browsers find it, without a slash at the end."""
    port: int
    guard: Guard
    store: Store
    registry: Registry
    takeovers: Takeovers
    renewal: asyncio.Event
    """Set, it makes the service read its certificate again."""

    def login_link(self, username: str) -> str:
        """An address that logs this account in once, within ten minutes."""
        return f"{self.url}/login?once={quote(self.guard.link(username))}"


async def serve(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT; then every call is given back, and it returns. Raises `StartFailed`."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(settings) as service:
        # What exists now stays: a collection that walks it all holds a click up by 150 ms (measured).
        gc.collect()
        gc.freeze()
        loop.add_signal_handler(signal.SIGHUP, service.renewal.set)
        notify("READY=1")
        log.info("serving", url=service.url)
        await stop.wait()
        notify("STOPPING=1")
        log.info("stopping")


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Service]:
    """The service, up inside the block; leaving it gives back every call and ends everything."""
    try:
        async with _composed(settings) as service:
            yield service
    except BaseExceptionGroup as failures:
        raise _plain(failures) from failures


def _plain(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure itself, out of the groups that the task groups around it make."""
    start = failures.subgroup(StartFailed)
    left: BaseException = start or failures
    while isinstance(left, BaseExceptionGroup) and (start is not None or len(left.exceptions) == 1):
        left = left.exceptions[0]
    return left


@asynccontextmanager
async def _composed(settings: Settings) -> AsyncIterator[Service]:
    async with AsyncExitStack() as stack:
        _prepare_folder(settings.data_dir)
        store = await stack.enter_async_context(_opened(settings))
        instance = settings.instance or _instance(settings.data_dir)
        pbxs = configured.pbxs(
            settings, instance
        )  # before the pool, whose workers must not wait while gevent is loaded
        pool = await stack.enter_async_context(_started_pool(settings))
        legs = MediaLegs(pool)
        registry = Registry(pbxs, instance)
        transcripts = Transcripts(registry, store.transcripts)
        notices = Notices(registry, transcripts, lambda ai: settings.ais.get(ai, AiPolicy()).greets_again)
        journal = PlacedJournal(store.audit, registry, store.audit.whose)
        missed = Missed(store.missed, journal, instance)
        await missed.restore()
        engagements = EndsLast(store.engagements, missed)
        takeovers = Takeovers(registry, pbxs, legs, journal, engagements, transcripts, notices=notices)
        site = Site(
            settings.http.https,
            settings.http.public_url or "",
            settings.http.trusted_proxies,
            settings.http.monitoring,
        )
        guard = Guard(store, site, timedelta(hours=settings.http.session_hours))
        means = Means(
            journal,
            store.escalations,
            notices,
            lambda call, to: pbxs[call.pbx].transfer(call, to),
            takeovers.spoken_for,
        )
        escalations = Escalations(registry, means, configured.escalation_policy(settings))
        await escalations.restore()
        recovery = Recovery(registry, engagements, store.transcripts, journal, notices)
        await recovery.restore()
        links = webhooks.links(settings, registry, store.outbox, journal)
        marks = Marks(registry, settings.data_dir / "marks")
        desk, hub = Desk(legs), Hub(registry, escalations, missed)
        parts = app.Parts(
            registry=registry,
            takeovers=takeovers,
            transcripts=transcripts,
            escalations=escalations,
            marks=marks,
            store=store,
            journal=journal,
            guard=guard,
            site=site,
            desk=desk,
            hub=hub,
            files=pages.load(pages.STATIC),
            destinations={name: sorted(pbx.destinations) for name, pbx in settings.pbx.items()},
            version=version(),
            media_faults=lambda: [] if pool.stats() else ["no media worker is running"],
            more_samples=lambda: [
                *media_samples(pool.stats(), pool.lines(), pool.totals()),
                *_join_samples(pbxs),
                *webhooks.samples(links),
            ],
            ice_servers=partial(configured.for_browsers, configured.ice_servers(settings.media)),
            deaf=[name for name, ai in settings.ais.items() if not ai.hears or ai.on_takeover == "hangup"],
            limits=Limits.of(settings.http.requests_per_second, settings.http.ai_requests_per_second),
        )
        events = pool.events()  # from here on, so that no leg's event is missed
        start = await stack.enter_async_context(_for_ever())
        start(takeovers.run(), "takeovers")
        start(escalations.run(), "escalations")
        start(links.run(), "webhooks")
        start(marks.run(), "marks")
        start(recovery.run(), "recovery")
        start(missed.run(), "missed")
        if settings.retention.days is not None:
            keepers: dict[str, Keeper] = {"turns": store.transcripts, "engagements": store.engagements, "marks": marks}
            start(Retention(settings.retention.days, keepers, journal).run(), "retention")
        for pbx in pbxs.values():
            start(follow(pbx, registry), f"pbx {pbx.name}")
        intruders: asyncio.Queue[media.Intruder] = asyncio.Queue(_INTRUDERS)
        start(_record(intruders, journal), "intruders")
        start(_media(events, takeovers, desk, hub, intruders), "media events")
        await stack.enter_async_context(captions(settings.captions, pool.events, registry, transcripts))
        start(guard.watch(), "sessions")
        if (patience := watchdog_seconds()) is not None:
            start(_watchdog(patience), "watchdog")
        open_ = await stack.enter_async_context(listening(settings, app.build(parts)))
        renewal = asyncio.Event()
        start(open_.renew(settings, renewal), "certificate")
        stack.push_async_callback(_let_go, takeovers, hub)
        url = url_of(settings, open_.port)
        yield Service(settings, url, open_.port, guard, store, registry, takeovers, renewal)


Start = Callable[[Coroutine[None, None, None], str], None]


@asynccontextmanager
async def _for_ever() -> AsyncIterator[Start]:
    """A task group whose tasks run until the block ends; one that fails ends the block."""
    running_tasks: list[asyncio.Task[None]] = []
    async with asyncio.TaskGroup() as group:
        try:
            yield lambda work, name: running_tasks.append(group.create_task(work, name=name))
        finally:
            for task in running_tasks:
                task.cancel()


async def _let_go(takeovers: Takeovers, hub: Hub) -> None:
    """First of all when we stop: every call goes back to its AI while everything still works."""
    await takeovers.drain()
    hub.close()


def _prepare_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = folder / f".write-{secrets.token_hex(4)}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise StartFailed(
            f"data_dir: {str(folder)!r} cannot be written ({error.strerror}); "
            "create it for the service's user, or name another folder"
        ) from None


def _instance(folder: Path) -> str:
    """Names this service towards the PBXs, the same after a restart: what it left there is recognised as its own."""
    path = folder / "instance"
    try:
        known = path.read_text(encoding="ascii").strip() if path.exists() else ""
        if not known:  # not even the first start came to its end
            known = secrets.token_hex(4)
            draft = path.with_name(".instance")
            draft.write_text(known + "\n", encoding="ascii")
            draft.replace(path)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise StartFailed(
            f"data_dir: {str(path)!r} cannot be read or made ({why}); make room, or put it right"
        ) from None
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", known):
        raise StartFailed(f"data_dir: {str(path)!r} holds {known[:64]!r}, which is no name; delete it for a new one")
    return known


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Store]:
    async with AsyncExitStack() as stack:
        try:
            store = await stack.enter_async_context(stores.opened(settings))
        except (KeyUnusable, BadValue, StoreUnavailable) as error:
            raise StartFailed(f"store: {error}") from None
        yield store


@asynccontextmanager
async def _started_pool(settings: Settings) -> AsyncIterator[media.Pool]:
    try:
        pool = media.Pool(configured.media_settings(settings))
    except ValueError as error:
        raise StartFailed(f"media.{error}") from None
    try:
        await pool.__aenter__()
    except (media.WorkerFailed, OSError) as error:
        raise StartFailed(f"media: {error}") from None
    try:
        yield pool
    finally:
        await pool.__aexit__(None, None, None)


async def _media(
    events: AsyncIterator[media.MediaEvent],
    takeovers: Takeovers,
    desk: Desk,
    hub: Hub,
    intruders: asyncio.Queue[media.Intruder],
) -> None:
    """What the pool tells, to whom it concerns. Nothing here waits: a lost leg gives its call back now."""
    async for event in events:
        match event:
            case media.LegUp(leg):
                if session := desk.owner(leg):
                    hub.leg_changed(session, leg, up=True)
            case media.LegDown(leg, why):
                takeovers.leg_down(leg, why)
                if session := desk.down(leg):
                    hub.leg_changed(session, leg, up=False, why=why)
            case media.PatchDown(_, patch, why):
                takeovers.patch_down(patch, why)
            case media.PatchUp(leg, patch, accepted, first_frame):
                log.debug("patch-up", leg=leg, patch=patch, first_frame_ms=round((first_frame - accepted) * 1000, 1))
            case media.Quality(leg, facts):
                if session := desk.owner(leg):
                    hub.quality(session, leg, asdict(facts))
            case media.Intruder() as intruder:
                log.warning("intruder", peer=intruder.peer, why=intruder.why)
                with contextlib.suppress(asyncio.QueueFull):
                    intruders.put_nowait(intruder)
            case media.WorkerLost(worker, lost):
                log.error("media-worker-lost", worker=worker, legs=len(lost))


async def _record(intruders: asyncio.Queue[media.Intruder], journal: Journal) -> None:
    """Puts on record who was turned away, as fast as the disk takes it; the log has all of them."""
    while True:
        one = await intruders.get()
        with contextlib.suppress(StoreUnavailable):
            number = await journal.intent(f"address:{one.peer}", "intrude", None, {"uuid": one.uuid, "why": one.why})
            await journal.outcome(number, "refused", {})


async def _watchdog(patience: float) -> None:
    while True:
        notify("WATCHDOG=1")
        await asyncio.sleep(patience)


def _join_samples(pbxs: Mapping[str, Pbx]) -> list[Sample]:
    joins: dict[Labels, float] = {}
    for name, pbx in pbxs.items():
        if not isinstance(pbx, AsteriskPbx):
            continue
        for what in ("checked", "stalled", "healed", "unhealed"):
            joins[("pbx", name), ("what", what)] = getattr(pbx.joins, what)
    return [
        Sample("takeover_joins_total", "Joins that were checked for a stall, and what came of it", "counter", joins)
    ]
