"""The demo with a FreeSWITCH beside the Asterisk: takeover and return in a real Chromium, measured."""

import asyncio
import json
import sys

import pytest

from tests.support.freeswitch import NEEDED, home
from web.demo import check, report


@pytest.mark.timeout(180)
async def test_the_check_takes_over_a_call_on_freeswitch_and_gives_it_back() -> None:
    if home() is None:
        pytest.skip(NEEDED)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "web.demo.run", "--check", "--freeswitch"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, told = await process.communicate()
    found = json.loads(output)
    assert found["ok"], (found, told)
    assert process.returncode == 0
    assert found["pbx"] == "freeswitch"
    assert report.as_expected(found["who_heard_whom"]) == []
    assert (found["rtp"]["lost"], found["rtp"]["ssrc_changes"]) == (0, 0)
    assert found["note"]["received"] == check.NOTE
