"""Fixtures every test may use. Nothing is skipped: what is missing is installed."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import settings

from web.demo import asterisk

from .support.lab import Lab

# How long an example takes says nothing on a machine that runs other tests beside it.
settings.register_profile("house", deadline=None)
settings.load_profile("house")


@pytest.fixture(scope="session")
def installation() -> asterisk.Installation:
    """An Asterisk that can be started; fetched on the first run of a machine."""
    return asyncio.run(asterisk.provide(print))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lab(installation: asterisk.Installation) -> AsyncIterator[Lab]:
    """One Asterisk with its peers for all tests of a worker; those tests need `loop_scope="session"`."""
    async with Lab(installation) as lab:
        yield lab


@pytest_asyncio.fixture(loop_scope="function")
async def own_lab(installation: asterisk.Installation) -> AsyncIterator[Lab]:
    """A lab for one test alone: for tests that kill or freeze the PBX. 0.5 s to start."""
    async with Lab(installation) as lab:
        yield lab
