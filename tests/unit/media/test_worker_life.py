"""Workers that die, hang, or lose the service: the PBX's socket must close, and nothing may stay behind."""

import asyncio
import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from media import messages as m
from media.pool import LegDown, Overloaded, PatchDown, Pool, WorkerFailed, WorkerLost
from media.supervisor import KILL, PING
from tests.support.browser_leg import BrowserLeg
from tests.unit.media.conftest import SETTINGS, Events
from tests.unit.media.pbx_end import PbxEnd
from tests.unit.media.test_pool import connected

SERVICE = """
import asyncio, sys
from media.pool import MediaSettings, Pool
async def main():
    async with Pool(MediaSettings(workers=2)) as pool:
        print(*(worker.pid for worker in pool.stats()), flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


def running(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX"
    return False


def wait_gone(pids: list[int], within: float) -> None:
    end = time.monotonic() + within
    while any(running(pid) for pid in pids):
        assert time.monotonic() < end, f"still running: {[pid for pid in pids if running(pid)]}"
        time.sleep(0.05)


@contextmanager
def service() -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """One with two workers, and their process ids."""
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", SERVICE], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            pids = [int(pid) for pid in process.stdout.readline().split()]
            assert len(pids) == 2
            assert all(running(pid) for pid in pids)
            yield process, pids
        finally:
            process.kill()


@contextmanager
def without_a_core(pid: int) -> Iterator[None]:
    """The process runs only when nobody else wants its one core, and three others do."""
    cores = os.sched_getaffinity(0)
    tasks = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    busy = f"import os\nos.sched_setaffinity(0, {{{max(cores)}}})\nprint(flush=True)\nwhile True: pass"
    with contextlib.ExitStack() as ends:
        for _ in range(3):
            one = ends.enter_context(subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE))
            ends.callback(one.kill)
            assert one.stdout is not None
            one.stdout.readline()
        for task in tasks:
            os.sched_setaffinity(task, {max(cores)})
            os.sched_setscheduler(task, os.SCHED_IDLE, os.sched_param(0))
        try:
            yield
        finally:  # at once, as nobody has patience for ever
            for task in tasks:
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setscheduler(task, os.SCHED_OTHER, os.sched_param(0))
                    os.sched_setaffinity(task, cores)


async def replaced(pool: Pool, old: int) -> None:
    async with asyncio.timeout(20):
        while not pool.stats() or pool.stats()[0].pid == old:  # noqa: ASYNC110  the pool tells of losses only
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_worker_that_dies_or_hangs_is_replaced_and_the_pbx_let_go(
    pool: Pool, events: Events, blow: signal.Signals
) -> None:
    async with connected(pool) as (_, leg):
        endpoint = await pool.open_patch(leg)
        async with PbxEnd(endpoint) as pbx:
            await asyncio.sleep(0.3)
            pid = pool.stats()[0].pid
            os.kill(pid, blow)
            async with asyncio.timeout(6):
                await pbx.closed.wait()
        assert await events.next(PatchDown) == PatchDown(leg, endpoint.uuid, "worker-lost")
        assert await events.next(LegDown) == LegDown(leg, "worker-lost")
        assert await events.next(WorkerLost) == WorkerLost(0, (leg,))
        await replaced(pool, pid)
        assert not running(pid)
    async with connected(pool) as (_, leg):
        assert pool.alive(leg)


async def test_a_worker_that_hangs_as_the_pbx_joins_is_noticed_too(pool: Pool, events: Events) -> None:
    async with connected(pool) as (_, leg):
        endpoint = await pool.open_patch(leg)
        os.kill(pool.stats()[0].pid, signal.SIGSTOP)
        # The kernel takes the call for it: to the PBX it looks like a worker that listens and says nothing.
        async with PbxEnd(endpoint) as pbx, asyncio.timeout(10):
            await pbx.closed.wait()
        assert await events.next(PatchDown) == PatchDown(leg, endpoint.uuid, "worker-lost")


async def test_a_service_that_is_held_up_again_and_again_still_notices_a_worker_that_hangs(
    pool: Pool, events: Events
) -> None:
    os.kill(pool.stats()[0].pid, signal.SIGSTOP)
    lost = asyncio.create_task(events.next(WorkerLost, within=60))
    while not lost.done():  # another thing with much to do on the same loop, not a wait
        time.sleep(2.4 * PING)  # noqa: ASYNC251  this is the load
        await asyncio.sleep(2 * PING)
    assert await lost == WorkerLost(0, ())


async def test_a_worker_is_not_killed_because_the_service_was_held_up(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        time.sleep(KILL + PING)  # noqa: ASYNC251  this is what is tested
        await asyncio.sleep(PING)
    await asyncio.sleep(2 * PING)
    # On a busy machine the worker may have lost its own patience meanwhile; but it was not we who ended it.
    assert "is killed" not in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who waits for a core")
async def test_a_worker_that_gets_no_core_is_not_killed(pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    pid = pool.stats()[0].pid
    with without_a_core(pid):
        await asyncio.sleep(3)
    await asyncio.sleep(1)
    assert "is killed" not in caplog.text
    assert pool.stats()[0].pid == pid


async def test_a_hanging_worker_is_not_called_alive(pool: Pool) -> None:
    async with connected(pool) as (_, leg):
        os.kill(pool.stats()[0].pid, signal.SIGSTOP)
        async with asyncio.timeout(3):
            while pool.alive(leg):  # noqa: ASYNC110  asked as the dead-man renewal asks
                await asyncio.sleep(0.02)
        assert pool.not_alive_reason(leg) in ("worker-late", "no-such-leg")


async def test_only_the_legs_of_the_lost_worker_are_lost() -> None:
    async with (
        Pool(dataclasses.replace(SETTINGS, workers=2)) as pool,
        connected(pool) as (_, first),
        connected(pool) as (_, second),
    ):
        os.kill(pool.stats()[0].pid, signal.SIGKILL)
        async with asyncio.timeout(5):
            while pool.alive(first) and pool.alive(second):  # noqa: ASYNC110  asked as the readiness gate asks
                await asyncio.sleep(0.02)
        assert pool.alive(first) != pool.alive(second)


async def test_after_the_pool_no_process_is_left() -> None:
    async with Pool(dataclasses.replace(SETTINGS, workers=2)) as pool:
        pids = [worker.pid for worker in pool.stats()]
        assert len(pids) == 2
    assert not any(running(pid) for pid in pids)


async def test_a_late_worker_takes_no_second_leg() -> None:
    settings = dataclasses.replace(SETTINGS, max_lateness_ms=0.0)
    async with Pool(settings) as pool, BrowserLeg() as browser:
        offer = await browser.offer()
        # An idle worker takes its first leg, however late: its lateness is its neighbours' doing.
        await pool.open_leg(offer, owner="anna")
        async with asyncio.timeout(20):
            while pool.stats()[0].lateness_p99_ms == 0:  # noqa: ASYNC110  the first pong is awaited
                await asyncio.sleep(0.05)
        with pytest.raises(Overloaded, match="ms late"):
            await pool.open_leg(offer, owner="bert")


async def test_a_worker_that_cannot_start_is_told_at_once() -> None:
    settings = dataclasses.replace(SETTINGS, audiosocket_host="203.0.113.1")
    with pytest.raises(WorkerFailed, match=r"audiosocket_host 203\.0\.113\.1"):
        async with Pool(settings):
            pass


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who waits for a core")
def test_workers_stay_with_a_service_that_gets_no_core() -> None:
    with service() as (process, pids):
        with without_a_core(process.pid):
            time.sleep(3)
        time.sleep(1)
        assert all(running(pid) for pid in pids)


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
def test_workers_end_with_the_service_or_when_it_freezes(blow: signal.Signals) -> None:
    with service() as (process, pids):
        process.send_signal(blow)
        wait_gone(pids, within=8)


async def test_a_log_that_nobody_takes_holds_up_no_worker() -> None:
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    os.set_blocking(write, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write, b"x" * 4096)
    os.set_blocking(write, True)  # as it is for the worker, who shares it
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "media.worker", str(theirs.fileno()), pass_fds=(theirs.fileno(),), stderr=write
    )
    theirs.close()
    reader, writer = await asyncio.open_unix_connection(sock=ours)
    try:
        async with asyncio.timeout(60):
            writer.write(m.encode(m.Configure(SETTINGS)))
            assert isinstance(m.decode(await reader.readline()), m.Ready)
            for request in range(3):
                writer.write(m.encode(m.OpenLeg(request, "leg", None)))  # type: ignore[arg-type]  # a fault inside
                assert m.decode(await reader.readline()) == m.Refused(request, "internal-error")
            writer.write(m.encode(m.Ping(1)))
            assert isinstance(m.decode(await reader.readline()), m.Pong)
            writer.close()
            await process.wait()  # it has something to say at the end too
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(read)
        os.close(write)
