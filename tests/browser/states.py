"""Every screen and state of the panel, brought about on the scripted server: what is checked and photographed."""

from collections.abc import Awaitable, Callable

from playwright.async_api import Browser, BrowserContext, Page, expect

from .panel_stub import PanelStub

State = Callable[[Page, PanelStub], Awaitable[None]]

# Chromium's microphone cannot be pulled out; this is what the page sees of one that is, where there is no other.
KEPT = """() => {
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async wanted => {
    const stream = await ask(wanted);
    globalThis.microphone = stream.getAudioTracks()[0];
    return stream;
  };
}"""
UNPLUGGED = """() => {
  navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("none", "NotFoundError"); };
  microphone.stop();
  microphone.dispatchEvent(new Event("ended"));
}"""
STATES: dict[str, State] = {}
"""By name; each begins with a panel that somebody has just logged in to."""


def state(bring: State) -> State:
    """Registers a state under the name of its function."""
    STATES[bring.__name__.replace("_", "-")] = bring
    return bring


async def enter(browser: Browser, stub: PanelStub, *, bypass_csp: bool = False) -> tuple[BrowserContext, Page]:
    """A logged-in panel, in English, light, without motion."""
    context = await browser.new_context(
        viewport={"width": 1280, "height": 720},
        locale="en-GB",
        color_scheme="light",
        reduced_motion="reduce",
        bypass_csp=bypass_csp,
    )
    page = await context.new_page()
    stub.logged_in = True
    await page.goto(stub.url)
    await expect(page.get_by_test_id("lamp")).to_have_attribute("data-up", "true")
    return context, page


async def calls(page: Page, stub: PanelStub) -> str:
    """Four calls; the first, about a double charge, is selected. Returns its id."""
    maria = stub.add_call("+49 30 5550142", "Maria Keller", age=154, recording="maria.wav")
    jonas = stub.add_call("+49 40 5550117", "Jonas Wirth", "Borealis", age=312, queue="support")
    eva = stub.add_call("+49 89 5550193", "Eva Brandt", age=47)
    tom = stub.add_call("+43 1 5550129", "", "Borealis", age=12, queue="support")
    for call in (maria, jonas, eva, tom):
        await stub.update(call)
    said = [
        ("ai", "Good afternoon, this is Aurora. How can I help you?"),
        ("caller", "I was charged twice for the same invoice, and I would like the money back."),
        ("ai", "I am sorry to hear that. May I have the number of the invoice, please?"),
        ("caller", "It is four seven one one. I have told you this three times now."),
        ("ai", "Thank you. I can see two payments of 49 euros on the third of November."),
    ]
    for number, (speaker, text) in enumerate(said):
        await stub.say(maria, speaker, text, ago=60 - 11 * number)
    await stub.say(maria, "caller", "Yes, and I want to speak with", final=False)
    await stub.say(jonas, "ai", "Your parcel left our warehouse this morning.", ago=8)
    await stub.colleague(eva, "Ben Ortiz", "takeover")
    await stub.push({"kind": "talking", "call": jonas, "role": "ai", "on": True})
    await page.locator(f'[data-call="{maria}"]').click()
    await expect(page.get_by_test_id("turn")).to_have_count(6)
    return maria


async def banner(page: Page, wanted: str) -> None:
    """Waits for the banner."""
    await expect(page.get_by_test_id("banner")).to_have_attribute("data-state", wanted, timeout=60_000)


async def take_over(page: Page, stub: PanelStub) -> str:
    """The agent speaks with Maria Keller."""
    call = await calls(page, stub)
    await page.get_by_test_id("mode-takeover").click()
    await banner(page, "live")
    await stub.push({"kind": "measured", "call": call, "facts": {"heard_ms": 31.0, "gap_ms": 20.0}})
    await stub.say(call, "agent", "Hello, this is Anna Berg, a person.", turn="caption-1")
    await stub.push({"kind": "talking", "call": call, "role": "caller", "on": True})
    await expect(page.get_by_test_id("measured")).not_to_be_empty()
    await stub.quality(speaking=False, level_in=-47.0, level_out=-71.0)
    await stub.quality()
    await expect(page.get_by_test_id("quality")).to_contain_text("dBFS")
    return call


@state
async def login(page: Page, stub: PanelStub) -> None:
    await page.goto(f"{stub.url}/login")
    await page.get_by_test_id("login-username").fill("anna")
    await page.get_by_test_id("login-password").fill("wrong")
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("login-error")).to_be_visible()


@state
async def empty(page: Page, _: PanelStub) -> None:
    await expect(page.get_by_text("No live calls.")).to_be_visible()


@state
async def read_along(page: Page, stub: PanelStub) -> None:
    await calls(page, stub)


@state
async def emergencies(page: Page, stub: PanelStub) -> None:
    maria = await calls(page, stub)
    _, jonas, eva, _ = stub.calls
    await stub.ask(maria, "Has asked for a person three times", "urgent", left=75)
    await stub.ask(jonas, "Caller reports chest pain", "emergency", left=24)
    await stub.ask(eva, "Caller is threatening", "normal", by="Ben Ortiz", ago=-1)
    await expect(page.get_by_test_id("emergency")).to_have_count(3)


@state
async def emergency_taken(page: Page, stub: PanelStub) -> None:
    maria = await calls(page, stub)
    await stub.ask(maria, "Has asked for a person three times", "emergency", left=-12)
    await stub.colleague(maria, "Ben Ortiz", "takeover")
    await expect(page.get_by_test_id("emergency-taken")).to_be_visible()


@state
async def listening(page: Page, stub: PanelStub) -> None:
    await calls(page, stub)
    await page.get_by_test_id("mode-monitor").click()
    await banner(page, "listen")


@state
async def whispering(page: Page, stub: PanelStub) -> None:
    await calls(page, stub)
    await page.get_by_test_id("mode-whisper").click()
    await banner(page, "whisper")


@state
async def barging(page: Page, stub: PanelStub) -> None:
    await calls(page, stub)
    await page.get_by_test_id("mode-barge").click()
    await banner(page, "barge")


@state
async def live(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    await expect(page.get_by_test_id("quality")).to_contain_text("Caller to you")  # after some seconds of sound


@state
async def muted(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    await page.get_by_test_id("mute").click()
    await expect(page.get_by_test_id("banner")).to_have_attribute("data-muted", "true")


@state
async def on_hold(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    await page.get_by_test_id("hold").click()
    await expect(page.get_by_test_id("banner")).to_have_attribute("data-hold", "true")


@state
async def keypad(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    await page.keyboard.press("p")
    await page.keyboard.type("4711")
    await expect(page.get_by_test_id("keypad-sent")).to_have_text("4711")


@state
async def transfer(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    await page.keyboard.press("f")
    await page.get_by_test_id("transfer-night-desk").check()


@state
async def ask_for_help(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    await page.keyboard.press("x")
    await page.get_by_test_id("help-reason").fill("Caller needs a doctor")


@state
async def end_call(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    await page.keyboard.press("e")
    await expect(page.get_by_test_id("end-call-confirm")).to_be_visible()


@state
async def wrap_up(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    await page.get_by_test_id("return-note").fill("Refund of 49 euros approved, arrives within 4 days.")
    await page.get_by_test_id("return-submit").click()
    await banner(page, "resuming")


@state
async def call_ended(page: Page, stub: PanelStub) -> None:
    call = await take_over(page, stub)
    await stub.hang_up(call)
    await expect(page.get_by_text("This call has ended: the caller hung up.")).to_be_visible()
    await expect(page.get_by_test_id("toast")).to_be_visible()


@state
async def not_possible(page: Page, stub: PanelStub) -> None:
    call = await calls(page, stub)
    why = "The AI has no leg of its own on this exchange."
    modes = [
        {"mode": mode, "possible": mode != "whisper", "how": "live", "why": why if mode == "whisper" else ""}
        for mode in ("monitor", "whisper", "barge", "takeover")
    ]
    await stub.update(call, modes=modes, notes=["same-codec-without-hook"])
    await expect(page.get_by_test_id("mode-whisper")).to_have_attribute("aria-disabled", "true")


@state
async def override(page: Page, stub: PanelStub) -> None:
    stub.role = "supervisor"
    await page.reload()
    await calls(page, stub)
    await page.get_by_text("Eva Brandt").click()
    stub.fail("POST", "/engagements", 409, "already-taken", "taken", speaker="Ben Ortiz")
    await page.get_by_test_id("mode-takeover").click()
    await page.get_by_test_id("override-reason").fill("Ben's headset broke")


@state
async def ladder(page: Page, stub: PanelStub) -> None:
    maria = await calls(page, stub)
    await stub.ask(maria, "Has asked for a person three times", "normal", by="caller", left=-40, ago=100)
    await stub.climb(maria, "urgent", supervisors=True)
    await expect(page.get_by_test_id("emergency-ladder")).to_be_visible()


@state
async def audit(page: Page, stub: PanelStub) -> None:
    stub.role = "supervisor"
    await page.reload()
    maria = await calls(page, stub)
    where = {"tenant": "default", "queue": "billing", "origin": "192.0.2.17"}
    for actor in ("anna", "ben", "carla"):
        stub.record("login", None, "ok" if actor != "carla" else "not-logged-in", actor=actor, address="192.0.2.17")
        stub.record("read-transcript", maria, actor=actor, **where)
        stub.record("takeover", maria, "ok" if actor == "ben" else "already-taken", actor=actor, leg="e1", **where)
        stub.record("hold", maria, actor=actor, on="true", **where)
        stub.record("release", maria, actor=actor, why="released", engagement="3f", **where)
        stub.record("transfer", maria, None, actor=actor, to="night-desk", **where)
    await page.get_by_test_id("audit").click()
    await expect(page.get_by_test_id("audit-row")).to_have_count(12)


@state
async def people(page: Page, stub: PanelStub) -> None:
    """Of everything that an administrator manages, one in change."""
    stub.role = "admin"
    everything = {"queues": ["*"], "tenants": ["*"]}
    for number, (name, role) in enumerate(
        (("Anna Berg", "admin"), ("Ben Ortiz", "agent"), ("Carla Rossi", "supervisor"))
    ):
        username = name.split()[0].lower()
        user = {"id": username, "username": username, "name": name, "role": role, **everything}
        stub.users.append({**user, "queues": ["billing", "support"]} if number == 1 else user)
    stub.tokens.append({"name": "my-platform", "role": "ai", "ai": "Aurora", **everything, "tenants": ["acme"]})
    stub.tokens.append({"name": "prometheus", "role": "metrics", "ai": "", **everything})
    await page.reload()
    await page.get_by_test_id("people").click()
    await expect(page.get_by_test_id("token-row")).to_have_count(2)
    await page.get_by_test_id("person-change").nth(1).click()
    await page.get_by_test_id("person-remove").click()


@state
async def check_before_duty(page: Page, stub: PanelStub) -> None:
    await calls(page, stub)
    await page.keyboard.press("q")
    await expect(page.get_by_test_id("finding-delay")).not_to_have_attribute("data-tone", "wait", timeout=20_000)


@state
async def shortcuts(page: Page, stub: PanelStub) -> None:
    await calls(page, stub)
    await page.keyboard.press("?")
    await expect(page.get_by_test_id("shortcuts")).to_be_visible()


@state
async def connection_lost(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    stub.refuse_events = True
    await stub.cut_events()
    await banner(page, "offline")


@state
async def exchange_away(page: Page, stub: PanelStub) -> None:
    await calls(page, stub)
    await stub.pbx("alpha", up=False, why="connection refused")
    await expect(page.locator('[data-fault="pbx"]')).to_be_visible()


@state
async def udp_blocked(page: Page, stub: PanelStub) -> None:
    stub.udp_blocked = True
    await calls(page, stub)
    await page.get_by_test_id("duty-on").click()
    await expect(page.locator('[data-fault="udp"]')).to_be_visible(timeout=20_000)


@state
async def poor_line(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    await stub.quality(lost=0.084, jitter_ms=61.0, recovered=312, concealed=27, stretched=41, buffer_ms=88.0)
    await expect(page.get_by_test_id("quality")).to_contain_text("8.4 % lost")
    await page.get_by_test_id("quality-details").locator("summary").click()


@state
async def password(page: Page, stub: PanelStub) -> None:
    await calls(page, stub)
    stub.fail("PUT", "/session/password", 403, "wrong-password")
    await page.get_by_test_id("password").click()
    for field in ("old", "new", "again"):
        await page.get_by_test_id(f"password-{field}").fill("a long password")
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("password-wrong")).not_to_be_empty()


@state
async def audit_without_entries(page: Page, stub: PanelStub) -> None:
    stub.role = "supervisor"
    await page.reload()
    await page.get_by_test_id("audit").click()
    await page.get_by_label("Who").fill("nobody")
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("audit-told")).not_to_be_empty()


@state
async def long_names(page: Page, stub: PanelStub) -> None:
    """Whatever people and exchanges are called, nothing leaves its place."""
    name = "Wolfeschlegelsteinhausenbergerdorff-Featherstonehaugh, Hubert Blaine Maximilian"
    queue = "international-complaints-and-escalations-second-level-night"
    ai = "Aurora Customer Care Assistant for Contracts and Invoices"
    call = stub.add_call("+49 30 5550142 98765 43210", name, ai, age=36_154, queue=queue, recording="a.wav")
    await stub.update(call)
    await stub.say(
        call, "caller", "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft " * 3
    )
    await stub.ask(
        call, "Caller has asked for a person again and again, and will not say why " * 3, "emergency", left=9
    )
    await stub.colleague(call, "Maximiliana Konstantinopolitanskaja-Papadopoulou", "monitor")
    await page.locator(f'[data-call="{call}"]').click()
    await expect(page.get_by_test_id("turn")).to_have_count(1)


@state
async def crowded(page: Page, stub: PanelStub) -> None:
    """Many live calls, some with people in them and some that ask for one."""
    for number in range(60):
        call = stub.add_call(f"+49 30 555{number:04}", f"Caller {number}" if number % 3 else "", age=number * 7 % 900)
        if number % 9 == 1:
            await stub.ask(
                call, "Asks for a person", ("normal", "urgent", "emergency")[number // 9 % 3], left=60 + number
            )
    for call in list(stub.calls)[::5]:
        await stub.colleague(call, "Ben Ortiz", "takeover")
    await page.reload()
    await expect(page.locator("[data-call]").first).to_be_visible()
    await page.locator("[data-call]").nth(2).click()


@state
async def colleagues(page: Page, stub: PanelStub) -> None:
    """Others listen while one speaks."""
    call = await take_over(page, stub)
    await stub.colleague(call, "Carla Rossi", "monitor")
    await stub.colleague(call, "Ben Ortiz", "whisper")
    await expect(page.get_by_test_id("hearing-words")).to_be_attached()


@state
async def microphone_gone(page: Page, stub: PanelStub) -> None:
    await page.evaluate(KEPT)
    await take_over(page, stub)
    await page.evaluate(UNPLUGGED)
    await expect(page.get_by_test_id("banner")).to_have_attribute("data-lost", "true")
    await expect(page.locator('[data-fault="microphone"]')).to_be_visible()


@state
async def given_back(page: Page, stub: PanelStub) -> None:
    """Not by the agent: nothing came from the microphone any more."""
    call = await take_over(page, stub)
    await stub.end_engagement(call, "no-microphone")
    await banner(page, "resuming")
    await expect(page.get_by_test_id("toast")).to_contain_text("fell silent")


@state
async def fell_back(page: Page, stub: PanelStub) -> None:
    """The AI had hung up before it could get the call back."""
    call = await take_over(page, stub)
    await stub.end_engagement(call, "ai-fallback")
    await banner(page, "idle")
    await expect(page.get_by_test_id("toast")).to_contain_text("had hung up")
