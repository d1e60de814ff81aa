"""Whatever dies, freezes or is cut under a live takeover: no caller is dropped, none stays in silence.

The whole path is real: agents in processes of their own, the service, its workers, Asterisk. The figures are those of
`tests.bench.failsafe`; here the bounds only prove who acted: a kill is noticed by the PBX at once, a frozen part by
the other within 3 s, everything frozen by the PBX's dead-man within 6.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests.support.faults import ROWS
from tests.support.stack import Stack
from web.demo.asterisk import Installation

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("failsafe"), pytest.mark.timeout(180)]

CALLS = 3  # one of each topology

BOUND_MS = {
    "kill9_service": 1000,
    "kill9_worker": 1000,
    "kill9_both": 1000,
    "freeze_service": 3500,
    "freeze_worker": 3500,
    "freeze_both": 6500,
    "browser_killed": 3500,
    "agent_network_cut": 3500,
    "ami_cut_2s": 1500,
    "ami_reset_2s": 1500,
    "ami_cut_20s": 6500,
    "second_service": 1500,
    "pbx_restart": 1500,
}
"From the fault to the AI at the caller; for a fault that ends no takeover, from the giving back after it."


class Ground:
    """One stack for all rows, as each leaves it in order; a new one after a row that did not."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._parts = AsyncExitStack()
        self._stack: Stack | None = None

    async def take(self) -> Stack:
        """A stack in order. Nobody else gets it unless it is given back."""
        stack, self._stack = self._stack, None
        if stack is None:
            await self._parts.aclose()
            stack = await self._parts.enter_async_context(Stack(self._installation, staff=CALLS, cuttable=True))
        return stack

    def give_back(self, stack: Stack) -> None:
        self._stack = stack

    async def close(self) -> None:
        await self._parts.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ground(installation: Installation) -> AsyncIterator[Ground]:
    ground = Ground(installation)
    yield ground
    await ground.close()


@pytest.mark.parametrize("row", ROWS)
async def test_no_caller_is_dropped_or_left_in_silence(row: str, ground: Ground) -> None:
    stack = await ground.take()
    report = await ROWS[row](stack, CALLS)
    assert report.faults == [], stack.server.tail()
    assert not any(outcome.dropped for outcome in report.outcomes)
    assert report.channels_left == 0
    assert report.registry_equal
    if row in BOUND_MS:
        assert all(one.ai_back_ms is not None and one.ai_back_ms < BOUND_MS[row] for one in report.outcomes)
    ground.give_back(stack)
