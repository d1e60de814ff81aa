"""The agent's desk with everything real: panel in Chromium, service, Asterisk, a caller and an AI, each with a tone.

The agent's microphone is a tone too, so that what the caller received tells who was heard, and when.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.support import processes
from tests.support.hearing import first_heard
from tests.support.lab import Lab, LabCall
from tests.support.server import Server
from web.demo.asterisk import Installation
from web.demo.tones import AGENT_HZ, AI_HZ

from .panel_stub import CHROMIUM

HEARD_S = 15.0
"""How long a tone is waited for at the caller's phone; on an idle machine it takes a tenth of a second."""
# The browser's own processing would rightly remove a steady tone. The tracks are kept, to be pulled out.
UNPROCESSED = """
const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (wanted) => {
  const audio = {...wanted.audio, echoCancellation: false, noiseSuppression: false, autoGainControl: false};
  const stream = await ask({...wanted, audio});
  globalThis.microphone = stream.getAudioTracks()[0];
  return stream;
};
"""
SETTLED = re.compile("idle|live")
NOTE = "The refund is approved."

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),  # the browser lives in the session's loop
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH; `make test` installs Debian's"),
]


@dataclass(frozen=True)
class House:
    """One exchange with our dialplan, and the service in front of it."""

    lab: Lab
    server: Server

    async def call(self) -> LabCall:
        """A caller in conversation with the AI."""
        return await self.lab.call("T1")

    async def as_ai(self, method: str, call: LabCall, path: str, **body: Any) -> float:
        """One request about a call by its AI's platform; returns when it was sent."""
        token = await self.server.add_token(f"ai-{time.monotonic_ns()}", role="ai", ai=await self.ai(call))
        reply = await self.server.ask(method, f"calls/{self.id(call)}/{path}", token=token, **body)
        assert reply.status < 300, reply
        return reply.sent

    async def ai(self, call: LabCall) -> str:
        """The name of a call's AI, once the service knows the call."""
        async with asyncio.timeout(HEARD_S):
            while True:
                reply = await self.server.get(f"calls/{self.id(call)}")
                if reply.status == 200:
                    return str(reply.body["ai"]["name"])
                await asyncio.sleep(0.05)  # another process: there is no event to wait for

    def id(self, call: LabCall) -> str:
        return f"lab~{call.uniqueid}"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(installation: Installation) -> AsyncIterator[House]:
    async with Lab(installation) as lab:
        ami = lab.pbx.ami
        pbx = {"host": ami.host, "port": ami.port, "username": ami.user, "secret": ami.secret}
        async with Server(pbx={"lab": pbx}) as server:
            for name in ("anna", "ben"):
                await server.add_user(name)
            yield House(lab, server)


@asynccontextmanager
async def seated(house: House, browser: Browser, name: str = "anna") -> AsyncIterator[Page]:
    """A window in which this agent has logged in; any error on its console fails the test."""
    async with await browser.new_context(
        viewport={"width": 1280, "height": 720}, locale="en-GB", permissions=["microphone"]
    ) as context:
        await context.add_init_script(UNPROCESSED)
        page = await context.new_page()
        said: list[str] = []
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda line: said.append(line.text) if line.type == "error" else None)
        await page.goto(f"{house.server.url}/login")
        await page.get_by_test_id("login-username").fill(name)
        await page.keyboard.press("Tab")
        await page.keyboard.type(house.server.password)
        await page.keyboard.press("Enter")
        await expect(page.get_by_test_id("lamp")).to_have_attribute("data-up", "true")
        yield page
    expected = re.compile(r"status of 409|ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|WebSocket connection")
    assert [text for text in said if not expected.search(text)] == []


async def on_duty(page: Page) -> None:
    """Opens the line, without the suppression, which would rightly remove a steady tone."""
    await page.get_by_test_id("duty-on").click()
    await expect(page.get_by_test_id("duty-off")).to_be_visible()
    await page.get_by_test_id("suppression").click()
    await expect(page.get_by_test_id("suppression")).to_have_attribute("aria-checked", "false")


async def banner(page: Page, state: str) -> None:
    await expect(page.get_by_test_id("banner")).to_have_attribute("data-state", state, timeout=30_000)


async def hears(call: LabCall, hertz: float, since: float) -> float:
    """When the caller heard this tone after `since`, to stay."""
    until = time.monotonic() + HEARD_S
    while time.monotonic() < until:
        now = time.monotonic()
        if (at := first_heard(call.caller.recording, hertz, max(since, now - 1), now)) is not None:
            return at
        await asyncio.sleep(0.1)
    raise AssertionError(f"the caller did not hear {hertz:g} Hz within {HEARD_S:g} s")


async def silent(call: LabCall, hertz: float) -> None:
    """Waits until the caller has not heard this tone for half a second."""
    until = time.monotonic() + HEARD_S
    while time.monotonic() < until:
        now = time.monotonic()
        if not call.caller.recording.trace(hertz, now - 0.5, now).heard.any():
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"the caller still hears {hertz:g} Hz after {HEARD_S:g} s")


async def test_take_over_speak_and_return_by_mouse(house: House, toned: Browser) -> None:
    async with seated(house, toned) as page:
        await expect(page.get_by_text("No live calls.")).to_be_visible()
        call = await house.call()
        await page.locator(f'[data-testid="call-row"][data-call="{house.id(call)}"]').click()
        turn = {"turn": "1", "speaker": "caller", "text": "I was charged twice.", "at": "2026-01-01T12:00:00Z"}
        await house.as_ai("POST", call, "transcript", **turn)
        await expect(page.get_by_test_id("turn")).to_contain_text("I was charged twice.")
        await on_duty(page)
        began = time.monotonic()
        await page.get_by_test_id("mode-takeover").click()
        await banner(page, "live")
        await hears(call, AGENT_HZ, began)
        await silent(call, AI_HZ)
        await page.get_by_test_id("return-note").fill(NOTE)
        returned = time.monotonic()
        await page.get_by_test_id("return-submit").click()
        await banner(page, "resuming")
        await hears(call, AI_HZ, returned)
        await silent(call, AGENT_HZ)
        await page.get_by_test_id("end-call").click()
        await page.get_by_test_id("end-call-confirm").click()
        await asyncio.wait_for(call.caller.ended.wait(), HEARD_S)
        await expect(page.get_by_test_id("call-row")).to_have_count(0)


async def test_take_over_speak_and_return_by_keyboard_alone(house: House, toned: Browser) -> None:
    call = await house.call()
    async with seated(house, toned) as page:
        press = page.keyboard.press
        await expect(page.get_by_test_id("call-row")).to_have_count(1)
        await press("d")
        await expect(page.get_by_test_id("duty-off")).to_be_visible()
        for _ in range(40):  # the switch has no key of its own: it is reached by Tab, as everything is
            if await page.evaluate("document.activeElement.dataset.testid") == "suppression":
                break
            await press("Tab")
        await press("Space")
        await expect(page.get_by_test_id("suppression")).to_have_attribute("aria-checked", "false")
        await press("j")
        began = time.monotonic()
        await press("4")
        await banner(page, "live")
        await hears(call, AGENT_HZ, began)
        await silent(call, AI_HZ)
        await press("n")
        await page.keyboard.type(NOTE)
        returned = time.monotonic()
        await press("Enter")
        await banner(page, "resuming")
        await hears(call, AI_HZ, returned)
        await silent(call, AGENT_HZ)
        await press("e")
        await expect(page.get_by_test_id("end-call-cancel")).to_be_focused()
        await press("Tab")
        await press("Enter")
        await asyncio.wait_for(call.caller.ended.wait(), HEARD_S)


async def test_an_emergency_is_seen_by_all_and_taken_with_one_click(house: House, toned: Browser) -> None:
    call = await house.call()
    async with seated(house, toned) as anna, seated(house, toned, "ben") as ben:
        await asyncio.gather(on_duty(anna), on_duty(ben))
        pages = (anna, ben)
        alerts = [asyncio.ensure_future(page.get_by_test_id("emergency").wait_for()) for page in pages]
        sent = await house.as_ai("POST", call, "escalation", reason="Chest pain", priority="emergency", deadline_s=30)
        await asyncio.gather(*alerts)
        assert time.monotonic() - sent < 8  # pushed, not found; on an idle machine it is a fraction of a second
        for page in pages:
            await expect(page.get_by_test_id("emergency")).to_contain_text("Chest pain")
            await expect(page).to_have_title("⚠ 1 asks for a person · Takeover")
        clicked = time.monotonic()
        await ben.get_by_test_id("emergency-take").click()
        await banner(ben, "live")
        await hears(call, AGENT_HZ, clicked)
        await expect(anna.get_by_test_id("emergency-taken")).to_have_text("Taken by Ben")
        await expect(anna).to_have_title("Takeover")
        await call.hangup()


async def test_of_two_agents_who_press_at_once_one_speaks_and_the_other_learns_who(
    house: House, toned: Browser
) -> None:
    call = await house.call()
    async with seated(house, toned) as anna, seated(house, toned, "ben") as ben:
        pages = {"Anna": anna, "Ben": ben}
        for page in pages.values():
            await on_duty(page)
            await page.get_by_test_id("call-row").click()
        began = time.monotonic()
        await asyncio.gather(*(page.get_by_test_id("mode-takeover").click() for page in pages.values()))
        for page in pages.values():
            await expect(page.get_by_test_id("banner")).to_have_attribute("data-state", SETTLED)
        states = {name: await page.get_by_test_id("banner").get_attribute("data-state") for name, page in pages.items()}
        assert sorted(map(str, states.values())) == ["idle", "live"]
        (winner,) = (name for name, state in states.items() if state == "live")
        (loser,) = (page for name, page in pages.items() if name != winner)
        await expect(loser.get_by_test_id("mode-why")).to_have_text(f"{winner} already speaks with this caller.")
        await expect(loser.get_by_test_id("mode-takeover")).to_have_attribute("aria-disabled", "true")
        await hears(call, AGENT_HZ, began)
        await call.hangup()


async def test_a_tab_that_is_killed_in_a_takeover_gives_the_call_back(house: House, toned: Browser) -> None:
    call = await house.call()
    async with seated(house, toned, "ben") as ben, seated(house, toned) as page:
        await on_duty(page)
        await page.get_by_test_id("call-row").click()
        began = time.monotonic()
        await page.get_by_test_id("mode-takeover").click()
        await banner(page, "live")
        await hears(call, AGENT_HZ, began)
        await expect(ben.get_by_test_id("call-row")).to_contain_text("Anna speaking")
        crashed = asyncio.ensure_future(page.wait_for_event("crash"))
        killed = time.monotonic()
        session = await page.context.new_cdp_session(page)
        going = asyncio.ensure_future(session.send("Page.crash"))
        await crashed
        going.cancel()
        await hears(call, AI_HZ, killed)
        await silent(call, AGENT_HZ)
        await expect(ben.get_by_test_id("call-row")).to_contain_text("AI")
        await expect(ben.get_by_test_id("call-row")).not_to_contain_text("Anna")
        await call.hangup()


async def test_a_line_moved_to_another_window_leaves_the_first_one_off_duty(house: House, toned: Browser) -> None:
    async with seated(house, toned) as page:
        await on_duty(page)
        other = await page.context.new_page()
        await other.goto(house.server.url)
        await other.get_by_test_id("duty-on").click()
        await other.get_by_test_id("move-confirm").click()
        await expect(other.get_by_test_id("duty-off")).to_be_visible()
        await expect(page.get_by_test_id("toast")).to_contain_text("moved to another window")
        await expect(page.get_by_test_id("duty-on")).to_be_visible()


async def test_a_microphone_that_is_unplugged_is_replaced_and_heard_again(house: House, toned: Browser) -> None:
    call = await house.call()
    async with seated(house, toned) as page:
        await on_duty(page)
        await page.get_by_test_id("call-row").click()
        began = time.monotonic()
        await page.get_by_test_id("mode-takeover").click()
        await banner(page, "live")
        await hears(call, AGENT_HZ, began)
        # Chromium's microphone cannot be pulled out; this is what the page sees of one that is.
        await page.evaluate("() => { const gone = microphone; gone.stop(); gone.dispatchEvent(new Event('ended')); }")
        await expect(page.get_by_test_id("toast")).to_contain_text("Your microphone was unplugged. Now using:")
        plugged = time.monotonic()
        await hears(call, AGENT_HZ, plugged)
        await banner(page, "live")
        await call.hangup()


async def test_a_server_restarted_under_an_open_panel(house: House, toned: Browser) -> None:
    call = await house.call()
    async with seated(house, toned) as page:
        await on_duty(page)
        await page.get_by_test_id("call-row").click()
        await page.get_by_test_id("mode-takeover").click()
        await banner(page, "live")
        async with page.expect_request(
            lambda request: request.method == "POST" and request.url.endswith("/legs"), timeout=90_000
        ):  # the new line is asked for by itself
            killed = time.monotonic()
            processes.kill(house.server.pid)
            await banner(page, "offline")
            await hears(call, AI_HZ, killed)  # by the exchange alone
            await house.server.restart()
            await expect(page.get_by_test_id("lamp")).to_have_attribute("data-up", "true", timeout=60_000)
        await expect(page.get_by_role("heading", level=2).first).to_be_visible()
        await expect(page.get_by_test_id("duty-off")).to_be_visible(timeout=60_000)
        await expect(page.get_by_test_id("call-row")).to_have_attribute("aria-current", "true")
        again = time.monotonic()
        await page.get_by_test_id("mode-takeover").click()
        await banner(page, "live")
        await hears(call, AGENT_HZ, again)
        await call.hangup()


async def test_a_supervisor_finds_a_takeover_in_the_audit_and_takes_it_home(house: House, toned: Browser) -> None:
    await house.server.add_user("carla", role="supervisor")
    call = await house.call()
    async with seated(house, toned) as anna, seated(house, toned, "carla") as carla:
        await on_duty(anna)
        await anna.get_by_test_id("call-row").click()
        await anna.get_by_test_id("mode-takeover").click()
        await banner(anna, "live")
        await expect(anna.get_by_test_id("audit")).to_be_hidden()
        await carla.get_by_test_id("audit").click()
        await carla.get_by_test_id("audit-act").select_option("takeover")
        rows = carla.get_by_test_id("audit-row").filter(has_text=house.id(call))
        await expect(rows).to_have_count(1)
        await expect(rows).to_contain_text("anna")
        async with carla.expect_download() as download:
            await carla.get_by_test_id("audit-csv").click()
        text = await asyncio.to_thread(Path(await (await download.value).path()).read_text)
        assert [line for line in text.splitlines() if house.id(call) in line and "takeover" in line]
        assert text.startswith("number,at,")
    await call.hangup()
