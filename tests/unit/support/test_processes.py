"""Killing and freezing real processes."""

import asyncio
import os
import signal

from tests.support.processes import alive, children, descendants, freeze, frozen, gone, kill, thaw


async def test_kill_and_gone() -> None:
    process = await asyncio.create_subprocess_exec("sleep", "30")
    assert alive(process.pid)
    assert process.pid in children(os.getpid())
    kill(process.pid)
    assert await gone(process.pid)
    assert await process.wait() == -signal.SIGKILL
    assert await gone(process.pid)


async def test_what_runs_is_not_gone() -> None:
    process = await asyncio.create_subprocess_exec("sleep", "30")
    assert not await gone(process.pid, within=0.1)
    process.kill()
    await process.wait()


async def test_frozen_it_does_nothing() -> None:
    process = await asyncio.create_subprocess_exec("cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    freeze(process.pid)
    process.stdin.write(b"a\n")
    answer = asyncio.create_task(process.stdout.readline())
    done, _ = await asyncio.wait({answer}, timeout=0.2)
    assert not done
    thaw(process.pid)
    assert await answer == b"a\n"
    with frozen(process.pid):
        pass
    process.stdin.close()
    assert await process.wait() == 0


async def test_descendants_are_found() -> None:
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", "sleep 30 & echo; wait"), stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    await process.stdout.readline()
    assert len(descendants(process.pid)) == 1
    os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
