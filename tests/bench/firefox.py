"""A takeover through a real Firefox and a real Asterisk: `python -m tests.bench.firefox --json [--record]`.

CI installs none: its tests answer the offer that was recorded here (`tests/data/sdp`; `--record` writes it anew).

- `version`: Firefox's
- `agent_heard_ms`: from the click on Takeover to the caller hearing the agent's tone; `ai_heard_ms`: from the click on
  Return to the caller hearing the AI again. The page is driven from outside, so both have some of that in them
- `received`, `lost`, `concealed`: packets of the call's sound, and the share of it that Firefox invented
- `loudness`: of what it plays, 0..1; the caller's tone is there
- `rtt_ms`: by its RTCP
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.browser.test_desk import UNPROCESSED, House, hears, silent
from tests.support.firefox import PROGRAMS, Firefox, firefox, found
from tests.support.lab import Lab
from tests.support.server import Server
from web.demo import asterisk
from web.demo.tones import AGENT_HZ, AI_HZ

RECORDED = Path(__file__).parents[1] / "data" / "sdp" / "firefox.sdp"
LISTENS_S = 5.0
WATCH = """
globalThis.offers = [];
const accept = RTCPeerConnection.prototype.setRemoteDescription;
RTCPeerConnection.prototype.setRemoteDescription = function (answer) {
  offers.push(this.localDescription.sdp);
  globalThis.peer = this;
  return accept.call(this, answer);
};
"""
COUNTED = """
const all = [...(await peer.getStats()).values()];
const heard = all.find((one) => one.type === "inbound-rtp");
const told = all.find((one) => one.type === "remote-inbound-rtp");
return {
  received: heard.packetsReceived, lost: heard.packetsLost, loudness: heard.audioLevel,
  concealed: heard.concealedSamples / heard.totalSamplesReceived, rtt_ms: 1000 * told.roundTripTime,
};
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output (always so)")
    parser.add_argument("--record", action="store_true", help=f"write the offer to {RECORDED.name}")
    options = parser.parse_args(arguments)
    program = found()
    if program is None:
        print(f"no {' or '.join(PROGRAMS)} on PATH", file=sys.stderr)
        return 2
    print(json.dumps(asyncio.run(measured(program, record=options.record))))
    return 0


async def measured(program: str, *, record: bool) -> dict[str, Any]:
    """The whole object."""
    installation = await asterisk.provide(lambda text: print(text, file=sys.stderr))
    async with Lab(installation) as lab, firefox(program, hertz=AGENT_HZ) as window:
        ami = lab.pbx.ami
        pbx = {"host": ami.host, "port": ami.port, "username": ami.user, "secret": ami.secret}
        async with Server(pbx={"lab": pbx}) as server:
            await server.add_user("anna")
            await window.before_each_page(UNPROCESSED + WATCH)
            return await taken_over(window, House(lab, server), record=record)


async def taken_over(window: Firefox, house: House, *, record: bool) -> dict[str, Any]:
    """Login, duty, takeover, return, end of the call."""
    await window.open(f"{house.server.url}/login")
    await window.until("document.querySelector('[data-testid=login-submit]').textContent")
    password = json.dumps(house.server.password)
    await window.run(f"username.value = 'anna'; document.forms.login.elements.password.value = {password};")
    await window.click("[data-testid=login-submit]")
    call = await house.call()
    await window.click(f'[data-testid=call-row][data-call="{house.id(call)}"]')
    await window.click("[data-testid=duty-on]")
    await window.click("[data-testid=suppression]")  # which would rightly remove a steady tone
    await window.until("document.querySelector('[data-testid=suppression]').ariaChecked === 'false'")
    if record:
        RECORDED.parent.mkdir(exist_ok=True)
        RECORDED.write_bytes((await window.run("return offers[0]")).encode())
    clicked = time.monotonic()
    await window.click("[data-testid=mode-takeover]")
    agent = await hears(call, AGENT_HZ, clicked) - clicked
    await silent(call, AI_HZ)
    await asyncio.sleep(LISTENS_S)
    counted = await window.run(COUNTED)
    clicked = time.monotonic()
    await window.click("[data-testid=return-submit]")
    ai = await hears(call, AI_HZ, clicked) - clicked
    await silent(call, AGENT_HZ)
    await window.click("[data-testid=end-call]")
    await window.click("[data-testid=end-call-confirm]")
    await asyncio.wait_for(call.caller.ended.wait(), LISTENS_S)
    return {
        "bench": "firefox",
        "version": window.version,
        "agent_heard_ms": round(agent * 1000),
        "ai_heard_ms": round(ai * 1000),
        **{name: round(value, 4) for name, value in counted.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
