"""Waiting for the end of a process, whoever started it."""

import asyncio
import os


async def ended(pid: int) -> None:
    """Returns when this process has ended; at once if it has already."""
    try:
        handle = os.pidfd_open(pid)  # readable when the process ends
    except ProcessLookupError:
        return
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(handle, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)
