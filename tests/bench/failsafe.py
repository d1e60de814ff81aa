"""What the caller goes through when something breaks: `python -m tests.bench.failsafe --json [--rows a,b] [--n 20]`.

Every row breaks one thing under several calls at once, each in takeover (all topologies in turn), and looks at every
caller: `ai_back_ms` from the fault (where nothing is to end a takeover, from the request to give back afterwards) to
the AI's tone at the caller; `caller_dropped` counts callers whose call ended without their wish; `channels_left`
those that the PBX still had afterwards; `registry_equal` says whether the service showed exactly the PBX's calls and
agents after each fault. `faults` lists in words what broke a promise, and is missing where nothing did.

`--pbx=freeswitch` does the same on the FreeSWITCH that `FREESWITCH_HOME` names; what the rows `ami_*` cut is then ESL.
`n` counts callers; a PBX that is restarted loses its calls by itself, they are no `caller_dropped`.
"""

import argparse
import asyncio
import json
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any

from tests.support.exchange import Exchange
from tests.support.faults import ROWS, Outcome, Report
from tests.support.figures import spread
from tests.support.freeswitch import TOPOLOGIES as FS_TOPOLOGIES
from tests.support.stack import Stack
from web.demo.asterisk import Installation

from .switch import exchange

CALLS = 5
"Calls at once under one fault."
MORE_CALLS = {"ami_cut_20s": 10, "pbx_restart": 1}
CUTTABLE = frozenset({"agent_network_cut"})
RESTARTS = 5


def say(text: str) -> None:
    """Progress."""
    print(text, file=sys.stderr, flush=True)


async def measure(ground: Installation | Exchange, row: str, count: int) -> dict[str, Any]:
    """One row, on a stack of its own, until `count` callers went through it."""
    size = min(MORE_CALLS.get(row, CALLS), count)
    outcomes: list[Outcome] = []
    reports: list[Report] = []
    faults: list[str] = []
    begun = time.monotonic()
    async with Stack(ground, staff=size, cuttable=row in CUTTABLE) as stack:
        while len(outcomes) < count:
            try:
                report = await ROWS[row](stack, min(size, count - len(outcomes)))
            except Exception as error:  # noqa: BLE001 - the other rows' figures must not be lost; it is told
                # What is broken now would spoil what follows: the row ends here.
                faults.append(f"{type(error).__name__}: {error}")
                traceback.print_exc()
                say(stack.server.tail())
                break
            outcomes += report.outcomes
            reports.append(report)
            say(f"{row}: {len(outcomes)} of {count} callers, {time.monotonic() - begun:.0f} s {report.faults or ''}")
    return _figures(outcomes, reports, faults)


def _figures(outcomes: Sequence[Outcome], reports: Sequence[Report], faults: Sequence[str]) -> dict[str, Any]:
    names = dict.fromkeys(name for outcome in outcomes for name in outcome.figures)
    told = [*faults, *(fault for report in reports for fault in report.faults)]
    return {
        "n": len(outcomes),
        "ai_back_ms": spread(one.ai_back_ms for one in outcomes if one.ai_back_ms is not None),
        "caller_dropped": sum(one.dropped for one in outcomes),
        "channels_left": sum(report.channels_left for report in reports),
        "registry_equal": bool(reports) and all(report.registry_equal for report in reports),
        **{name: spread(one.figures[name] for one in outcomes if name in one.figures) for name in names},
        **({"faults": told} if told else {}),
    }


async def bench(pbx: str, topologies: Sequence[str], rows: Sequence[str], count: int) -> dict[str, Any]:
    """Row after row: two at once would measure each other."""
    async with exchange(pbx, topologies) as (name, ground):
        figures: dict[str, Any] = {"pbx": name}
        for row in rows:
            figures[row] = await measure(ground(), row, min(count, RESTARTS) if row == "pbx_restart" else count)
            say(f"{row}: {json.dumps(figures[row])}")
    return figures


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.failsafe", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output (always)")
    parser.add_argument("--n", type=int, default=20, help="callers per row; a restart of the PBX counts at most 5")
    parser.add_argument("--rows", default=",".join(ROWS), help="which, separated by commas")
    parser.add_argument("--pbx", choices=["asterisk", "freeswitch"], default="asterisk")
    parser.add_argument("--topologies", default=",".join(FS_TOPOLOGIES), help="which, on a FreeSWITCH")
    arguments = parser.parse_args()
    rows = arguments.rows.split(",")
    if unknown := [row for row in rows if row not in ROWS]:
        parser.error(f"--rows: there is no {', '.join(unknown)}; there are {', '.join(ROWS)}")
    print(json.dumps(asyncio.run(bench(arguments.pbx, arguments.topologies.split(","), rows, arguments.n))))


if __name__ == "__main__":
    main()
