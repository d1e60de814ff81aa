"""The composition root: makes every part, joins connector and media, runs it all in one task group.

A failure of the infrastructure ends the process (the service manager starts it again, and the PBX has given every
call back meanwhile); a failure of one engagement, leg or client ends only that.
"""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from urllib.parse import quote

import structlog

from connector.asterisk.pbx import AsteriskPbx
from connector.ports import Pbx
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

from . import app, configured, mediaevents, pages, webhooks
from .auth import Guard
from .captions import captions
from .door import Door
from .errors import StartFailed
from .ground import instance_in, opened_store, prepare_folder, started_pool
from .hub import Hub
from .listening import listening, url_of
from .medialegs import MediaLegs, media_samples
from .metrics import Labels, Sample
from .missed import EndsLast, Missed
from .notify import notify, watchdog_seconds
from .routing import Limits
from .settings import AiPolicy, Settings
from .signalling import Desk
from .site import Site
from .version import version

__all__ = ["Service", "StartFailed", "running", "serve"]

log = structlog.get_logger()


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
        prepare_folder(settings.data_dir)
        store = await stack.enter_async_context(opened_store(settings))
        instance = settings.instance or instance_in(settings.data_dir)
        pbxs = configured.pbxs(
            settings, instance
        )  # before the pool, whose workers must not wait while gevent is loaded
        pool = await stack.enter_async_context(started_pool(settings))
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
        door = Door(settings.http.connections_per_address, site)
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
            door=door,
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
        intruders: asyncio.Queue[media.Intruder] = asyncio.Queue(mediaevents.MAX_INTRUDERS)
        start(mediaevents.record(intruders, journal), "intruders")
        start(mediaevents.follow(events, takeovers, desk, hub, intruders), "media events")
        await stack.enter_async_context(captions(settings.captions, pool.events, registry, transcripts))
        start(guard.watch(), "sessions")
        if (patience := watchdog_seconds()) is not None:
            start(_watchdog(patience), "watchdog")
        open_ = await stack.enter_async_context(listening(settings, app.build(parts), door))
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
