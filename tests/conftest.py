"""Fixtures every test may use. What is missing is installed; only for a FreeSWITCH, which no package registry has, and
for a PostgreSQL, which most sites do without, one loud line each says what was not tested."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from hypothesis import settings

from web.demo import asterisk

from .support import freeswitch as fs
from .support import postgres as pg
from .support.lab import Lab

# How long an example takes says nothing on a machine that runs other tests beside it.
# The gate must say the same of the same code; `pytest --hypothesis-profile=explore tests/fuzz` looks for what is new.
settings.register_profile("house", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=2_000)
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


@pytest.fixture(scope="session")
def freeswitch() -> Iterator[fs.Instance]:
    """One FreeSWITCH for all tests of a worker, from `FREESWITCH_HOME`; skips where none is installed."""
    prefix = fs.home()
    if prefix is None:
        pytest.skip(fs.NEEDED)
    with fs.Instance(prefix) as instance:
        yield instance


@pytest.fixture(scope="session")
def postgres() -> Iterator[pg.Postgres]:
    """One PostgreSQL for all tests of a worker, 2 s to start; skips where none is installed."""
    programs = pg.programs()
    if programs is None:
        pytest.skip(pg.NEEDED)
    with pg.Postgres(programs) as server:
        yield server


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The loud lines."""
    if fs.home() is None:
        terminalreporter.write_line(fs.NEEDED, red=True, bold=True)
    if pg.programs() is None:
        terminalreporter.write_line(pg.NEEDED, red=True, bold=True)
