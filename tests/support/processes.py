"""Killing and freezing processes, and knowing that they are gone."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def kill(pid: int) -> None:
    """SIGKILL: as a crash or the kernel's memory killer would."""
    os.kill(pid, signal.SIGKILL)


def freeze(pid: int) -> None:
    """Stops all threads; sockets stay open, nothing answers."""
    os.kill(pid, signal.SIGSTOP)


def thaw(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)


@contextmanager
def frozen(*pids: int) -> Iterator[None]:
    """Freezes processes for the length of a block."""
    for pid in pids:
        freeze(pid)
    try:
        yield
    finally:
        for pid in pids:
            if alive(pid):
                thaw(pid)


def alive(pid: int) -> bool:
    """True if the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    """Direct children, oldest first."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # that thread has just ended
            found += [int(number) for number in task.read_text().split()]
    return sorted(found)


def descendants(pid: int) -> list[int]:
    found: list[int] = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


async def gone(pid: int, within: float = 5) -> bool:
    """True as soon as the process is gone, False if it still runs after `within` seconds."""
    loop = asyncio.get_running_loop()
    try:
        handle = os.pidfd_open(pid)  # readable when the process ends, whose child it may be
    except ProcessLookupError:
        return True
    ended = asyncio.Event()
    loop.add_reader(handle, ended.set)
    try:
        async with asyncio.timeout(within):
            await ended.wait()
        return True
    except TimeoutError:
        return not alive(pid)
    finally:
        loop.remove_reader(handle)
        os.close(handle)
