"""Fixtures of the web's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from .house import House


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """The web over real services."""
    async with House(tmp_path) as one:
        yield one
