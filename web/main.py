"""The composition root: makes every part, joins connector and media, runs it all in one task group.

A failure of the infrastructure ends the process (the service manager starts it again, and the PBX has given every
call back meanwhile); a failure of one engagement, leg or client ends only that.
"""

import asyncio
import contextlib
import gc
import os
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from importlib import metadata
from pathlib import Path
from urllib.parse import quote

import structlog
from pydantic import SecretStr

from connector.asterisk.pbx import AsteriskPbx, AsteriskSettings
from connector.domain.errors import BadValue, StoreUnavailable
from connector.domain.escalation import Step
from connector.freeswitch.pbx import FreeSwitchPbx, FreeSwitchSettings
from connector.ports import Pbx
from connector.services.escalations import Escalations, Means, Policy
from connector.services.marks import Marks
from connector.services.notices import Notices
from connector.services.registry import Registry
from connector.services.retention import Keeper, Retention
from connector.services.takeovers import Takeovers
from connector.services.transcripts import Transcripts
from connector.services.whose import PlacedJournal
from connector.store import Store
from media import pool as media
from media import turn

from . import app, pages, stores, webhooks
from .auth import Guard, Site
from .captions import captions
from .errors import StartFailed
from .hub import Hub
from .keyfile import KeyUnusable
from .listening import listening, url_of
from .medialegs import MediaLegs, media_samples
from .messages import IceServerJson
from .metrics import Labels, Sample
from .notify import notify, watchdog_seconds
from .routing import Limits
from .settings import AiPolicy, Asterisk, FreeSwitch, Media, Settings
from .signalling import Desk

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
        pbxs = _pbxs(settings, instance)  # before the pool, whose workers must not wait while gevent is loaded
        pool = await stack.enter_async_context(_started_pool(settings))
        legs = MediaLegs(pool)
        registry = Registry(pbxs, instance)
        transcripts = Transcripts(registry, store.transcripts)
        notices = Notices(registry, transcripts, lambda ai: settings.ais.get(ai, AiPolicy()).greets_again)
        journal = PlacedJournal(store.audit, registry, store.audit.whose)
        takeovers = Takeovers(registry, pbxs, legs, journal, store.engagements, transcripts, notices=notices)
        site = Site(
            settings.http.https,
            settings.http.public_url or "",
            settings.http.trusted_proxies,
            settings.http.monitoring,
        )
        guard = Guard(store, site, timedelta(hours=settings.http.session_hours))
        means = Means(journal, store.escalations, notices, lambda call, to: pbxs[call.pbx].transfer(call, to))
        escalations = Escalations(registry, means, _escalation_policy(settings))
        await escalations.restore()
        links = webhooks.links(settings, registry, store.outbox, journal)
        marks = Marks(registry, settings.data_dir / "marks")
        desk, hub = Desk(legs), Hub(registry, escalations)
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
            version=_version(),
            media_faults=lambda: [] if pool.stats() else ["no media worker is running"],
            more_samples=lambda: [
                *media_samples(pool.stats(), pool.lines(), pool.totals()),
                *_join_samples(pbxs),
                *webhooks.samples(links),
            ],
            ice_servers=partial(_for_browsers, _ice_servers(settings.media)),
            deaf=[name for name, ai in settings.ais.items() if not ai.hears or ai.on_takeover == "hangup"],
            limits=Limits.of(settings.http.requests_per_second, settings.http.ai_requests_per_second),
        )
        events = pool.events()  # from here on, so that no leg's event is missed
        start = await stack.enter_async_context(_for_ever())
        start(takeovers.run(), "takeovers")
        start(escalations.run(), "escalations")
        start(links.run(), "webhooks")
        start(marks.run(), "marks")
        if settings.retention.days is not None:
            keepers: dict[str, Keeper] = {"turns": store.transcripts, "engagements": store.engagements, "marks": marks}
            start(Retention(settings.retention.days, keepers, journal).run(), "retention")
        for pbx in pbxs.values():
            start(_pump(pbx, registry), f"pbx {pbx.name}")
        start(_media(events, takeovers, desk, hub, store), "media events")
        await stack.enter_async_context(captions(settings.captions, pool.events, registry, transcripts))
        start(guard.watch(), "sessions")
        if (patience := watchdog_seconds()) is not None:
            start(_watchdog(patience), "watchdog")
        port = await stack.enter_async_context(listening(settings, app.build(parts)))
        stack.push_async_callback(_let_go, takeovers, hub)
        yield Service(settings, url_of(settings, port), port, guard, store, registry, takeovers)


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
    if not path.exists():
        path.write_text(secrets.token_hex(4) + "\n", encoding="ascii")
    return path.read_text(encoding="ascii").strip()


def _version() -> str:
    try:
        return metadata.version("takeover")
    except metadata.PackageNotFoundError:  # run from a checkout that was never installed
        return "0+checkout"


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Store]:
    async with AsyncExitStack() as stack:
        try:
            store = await stack.enter_async_context(stores.opened(settings))
        except (KeyUnusable, BadValue, StoreUnavailable) as error:
            raise StartFailed(f"store: {error}") from None
        yield store


def _pbxs(settings: Settings, instance: str) -> Mapping[str, AsteriskPbx | FreeSwitchPbx]:
    pbxs: dict[str, AsteriskPbx | FreeSwitchPbx] = {}
    for name, one in settings.pbx.items():
        if isinstance(one, FreeSwitch):
            pbxs[name] = FreeSwitchPbx(name, _freeswitch(one, settings.ais), instance)
        else:
            pbxs[name] = AsteriskPbx(name, _asterisk(one, settings.ais), instance)
    return pbxs


def _open(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None


def _asterisk(one: Asterisk, ais: Mapping[str, AiPolicy]) -> AsteriskSettings:
    return AsteriskSettings(
        username=one.username,
        secret=_open(one.secret) or "",
        host=one.host,
        port=one.port,
        tls=one.tls,
        tls_ca=str(one.tls_ca_file or ""),
        ais=[(rule.name, rule.match) for rule in one.ais],
        destinations=dict(one.destinations),
        deadman_s=one.deadman_s,
        deaf=frozenset(name for name, policy in ais.items() if not policy.hears),
        hung_up=frozenset(name for name, policy in ais.items() if policy.on_takeover == "hangup"),
    )


def _freeswitch(one: FreeSwitch, ais: Mapping[str, AiPolicy]) -> FreeSwitchSettings:
    return FreeSwitchSettings(
        secret=_open(one.secret) or "",
        host=one.host,
        port=one.port,
        sip_profile=one.sip_profile,
        ais=[(rule.name, rule.match) for rule in one.ais],
        destinations=dict(one.destinations),
        deadman_s=one.deadman_s,
        deaf=frozenset(name for name, policy in ais.items() if not policy.hears),
        hung_up=frozenset(name for name, policy in ais.items() if policy.on_takeover == "hangup"),
    )


def _escalation_policy(settings: Settings) -> Policy:
    part = settings.escalation
    return Policy(
        ladder=[
            Step(rung.after_s, rung.after, rung.priority, rung.notify, rung.transfer or "") for rung in part.ladder
        ],
        deadline_s=part.deadline_s,
        caller_digit=part.caller_digit or "",
        ceilings={name: policy.max_priority for name, policy in settings.ais.items()},
    )


@asynccontextmanager
async def _started_pool(settings: Settings) -> AsyncIterator[media.Pool]:
    part = settings.media
    ports = tuple(int(port) for port in part.udp_ports.split("-")) if part.udp_ports else None
    try:
        pool = media.Pool(
            media.MediaSettings(
                workers=part.workers or os.cpu_count() or 1,
                udp_ports=(ports[0], ports[1]) if ports else None,
                public_addresses=part.public_addresses,
                audiosocket_host=part.audiosocket_host,
                pbx_addresses=part.pbx_addresses,
                sip=any(isinstance(one, FreeSwitch) for one in settings.pbx.values()),
                ice_servers=_ice_servers(part),
                max_legs_per_worker=part.max_legs_per_worker,
                suppression=part.suppression,
                max_lateness_ms=part.max_lateness_ms,
                captions=settings.captions.backend != "none",
            )
        )
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


async def _pump(pbx: Pbx, registry: Registry) -> None:
    async for event in pbx.events():
        registry.apply(event)


async def _media(
    events: AsyncIterator[media.MediaEvent], takeovers: Takeovers, desk: Desk, hub: Hub, store: Store
) -> None:
    """What the pool tells, to whom it concerns."""
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
            case media.Intruder(peer, uuid, why):
                log.warning("intruder", peer=peer, why=why)
                with contextlib.suppress(StoreUnavailable):  # it was turned away; the log has it
                    number = await store.audit.intent(f"address:{peer}", "intrude", None, {"uuid": uuid, "why": why})
                    await store.audit.outcome(number, "refused", {})
            case media.WorkerLost(worker, lost):
                log.error("media-worker-lost", worker=worker, legs=len(lost))


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


def _ice_servers(part: Media) -> tuple[media.IceServer, ...]:
    return tuple(
        media.IceServer(one.url, one.username, _open(one.credential), _open(one.secret)) for one in part.ice_servers
    )


def _for_browsers(servers: tuple[media.IceServer, ...], name: str) -> list[IceServerJson]:
    return [_ice_server(one) for one in turn.current(servers, name)]


def _ice_server(one: media.IceServer) -> IceServerJson:
    server: IceServerJson = {"urls": one.url}
    if one.username is not None:
        server["username"] = one.username
    if one.credential is not None:
        server["credential"] = one.credential
    return server
