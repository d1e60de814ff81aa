"""The page itself: who gets in, keys, sizes, languages, weight, and the audit. Real Chromium, scripted server."""

import asyncio
import gzip

import pytest
from playwright.async_api import Browser, Page, Route, expect

from .panel_stub import CHROMIUM, STATIC, PanelStub
from .steps import banner, select, take_over

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),  # the browser lives in the session's loop
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH; `make test` installs Debian's"),
]


async def test_wrong_password_is_said_and_the_right_one_enters(browser: Browser, stub: PanelStub) -> None:
    async with await browser.new_page(locale="en-GB") as page:
        await page.goto(f"{stub.url}/login")
        await page.get_by_test_id("login-username").fill("anna")
        await page.get_by_test_id("login-password").fill("wrong")
        await page.keyboard.press("Enter")
        await expect(page.get_by_test_id("login-error")).to_have_text("User name or password is wrong.")
        await page.get_by_test_id("login-password").fill("correct horse")
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{stub.url}/")


async def test_a_login_typed_faster_than_the_page_loads_is_a_login(browser: Browser, stub: PanelStub) -> None:
    typed = asyncio.Event()

    async def later(route: Route) -> None:
        await typed.wait()
        await route.continue_()

    async with await browser.new_page(locale="en-GB") as page:
        await page.route("**/messages/*.json", later)
        await page.goto(f"{stub.url}/login", wait_until="domcontentloaded")
        await page.get_by_test_id("login-username").fill("anna")
        await page.get_by_test_id("login-password").fill("correct horse")
        await page.keyboard.press("Enter")
        typed.set()
        await expect(page.get_by_test_id("lamp")).to_have_attribute("data-up", "true")


async def test_without_a_session_the_panel_leads_to_the_login(browser: Browser, stub: PanelStub) -> None:
    async with await browser.new_page() as page:
        await page.goto(stub.url)
        await page.wait_for_url(f"{stub.url}/login")


async def test_who_is_thrown_out_is_told_why_and_who_logs_out_is_not(page: Page, stub: PanelStub) -> None:
    stub.logged_in = False
    await stub.cut_events()
    await page.wait_for_url(f"{stub.url}/login")
    await expect(page.get_by_test_id("login-error")).to_have_text("Your session has ended. Please log in again.")
    await page.get_by_test_id("login-username").fill("anna")
    await page.get_by_test_id("login-password").fill("correct horse")
    await page.keyboard.press("Enter")
    await page.get_by_test_id("logout").click()
    await page.wait_for_url(f"{stub.url}/login")
    await expect(page.get_by_test_id("login-submit")).to_have_text("Log in")
    await expect(page.get_by_test_id("login-error")).to_be_hidden()


async def test_tab_reaches_every_action_of_a_live_agent(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    other = stub.add_call("+49 30 5550143", "Jonas Wirth")
    await stub.update(other)
    await stub.ask(other, "Insists on a person", "urgent")
    await expect(page.get_by_test_id("emergency")).to_be_visible()
    wanted = await page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, a[href]")]
            .filter(one => one.checkVisibility() && !one.disabled)
            .map(one => one.dataset.testid ?? one.ariaLabel ?? one.textContent)"""
    )
    assert len(wanted) > 20
    reached: set[str] = set()
    for _ in range(len(wanted) + 10):
        await page.keyboard.press("Tab")
        reached.add(
            await page.evaluate(
                """() => { const one = document.activeElement;
                    return one.dataset.testid ?? one.ariaLabel ?? one.textContent; }"""
            )
        )
    assert set(wanted) - reached == set()
    await page.keyboard.press("Escape")
    await banner(page, "live")


async def test_supervisors_read_the_audit_page_by_page_and_as_a_file(page: Page, stub: PanelStub) -> None:
    await expect(page.get_by_test_id("audit")).to_be_hidden()
    stub.role = "supervisor"
    await page.reload()
    for number in range(14):
        stub.record("takeover" if number % 7 else "login", f"alpha~{number}", reason="<b>=1+1</b>\u202e")
    await page.get_by_test_id("audit").click()
    rows = page.get_by_test_id("audit-row")
    await expect(rows).to_have_count(12)
    await expect(rows.first).to_contain_text("reason: <b>=1+1</b>")
    await page.get_by_test_id("audit-more").click()
    await expect(rows).to_have_count(14)
    await expect(page.get_by_test_id("audit-more")).to_be_hidden()
    await page.get_by_test_id("audit-act").select_option("login")
    await expect(rows).to_have_count(2)
    await expect(page.get_by_test_id("audit-csv")).to_have_attribute(
        "href", "/api/v1/audit/export?act=login&format=csv"
    )
    await page.get_by_test_id("audit-act").select_option("transfer")
    await expect(page.get_by_test_id("audit-told")).to_have_text("Nothing on record matches.")
    stub.fail("GET", "/audit", 503, "store-unavailable")
    await page.get_by_test_id("audit-act").select_option("")
    await expect(page.get_by_test_id("toast")).to_be_visible()  # above the dialog, where it can be read


async def test_single_key_shortcuts_can_be_switched_off(page: Page, stub: PanelStub) -> None:
    await stub.update(stub.add_call("+49 30 5550142", "Maria Keller"))
    await page.keyboard.press("?")
    await expect(page.get_by_test_id("shortcuts")).to_be_visible()
    await page.get_by_label("Single-key shortcuts are on").uncheck()
    await page.keyboard.press("Escape")
    await page.keyboard.press("j")
    await expect(page.get_by_text("No call selected")).to_be_visible()


async def test_everything_needed_when_live_fits_the_small_screens(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    for size in ((1280, 720), (390, 844)):
        await page.set_viewport_size({"width": size[0], "height": size[1]})
        for hook in ("banner", "return-submit", "return-note", "mute", "hold", "end-call", "mode-monitor", "mic-level"):
            await expect(page.get_by_test_id(hook)).to_be_in_viewport(ratio=1)
        wide = await page.evaluate("document.documentElement.scrollWidth")
        assert wide <= size[0], f"the page scrolls sideways at {size}: {wide} px"


async def test_no_button_of_a_live_agent_is_cut_in_any_language_at_any_width(page: Page, stub: PanelStub) -> None:
    cut = """() => [...document.querySelectorAll("tk-dock button")].flatMap(one => {
        if (!one.checkVisibility()) return [];
        const [box, pane] = [one.getBoundingClientRect(), one.closest("tk-dock").getBoundingClientRect()];
        const [label, key] = [one.querySelector(".label"), one.querySelector("kbd")];
        const text = label && document.createRange();
        text?.selectNodeContents(label);
        const close = key?.checkVisibility() && text?.getBoundingClientRect().right > key.getBoundingClientRect().left;
        return box.right > pane.right || one.scrollWidth > one.clientWidth || close ? [one.dataset.testid] : [];
    })"""
    for language in ("en", "de"):
        await page.evaluate("language => localStorage.setItem('takeover.language', language)", language)
        await page.set_viewport_size({"width": 1440, "height": 844})
        await page.reload()
        call = await take_over(page, stub)
        for width in (1440, 1280, 1180, 1100, 1024, 800, 720, 390):
            await page.set_viewport_size({"width": width, "height": 844})
            assert await page.evaluate(cut) == [], (language, width)
        await stub.hang_up(call)


async def test_the_other_language_is_complete_on_screen(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    page.on("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("combobox", name="Language").select_option("de")
    await expect(page.get_by_role("heading", name="Laufende Gespräche")).to_be_visible()
    assert await page.evaluate("document.documentElement.lang") == "de"


async def test_the_first_load_stays_under_200_kilobytes(page: Page, stub: PanelStub) -> None:
    loaded: set[str] = set()
    page.on("request", lambda request: loaded.add(request.url.removeprefix(stub.url)))
    await page.reload()
    await expect(page.get_by_test_id("lamp")).to_have_attribute("data-up", "true")
    files = [STATIC / path.removeprefix("/static/") for path in loaded if path.startswith("/static/")]
    assert STATIC / "app.js" in files
    bodies = [(file.suffix, file.read_bytes()) for file in [*files, STATIC / "index.html"]]
    size = sum(len(body) if suffix == ".woff2" else len(gzip.compress(body)) for suffix, body in bodies)
    assert 30_000 < size < 200_000


@pytest.mark.parametrize("size", [(390, 844), (1024, 768), (1440, 900)], ids=str)
async def test_a_message_covers_neither_who_is_called_nor_what_can_be_done(
    page: Page, stub: PanelStub, size: tuple[int, int]
) -> None:
    await page.set_viewport_size({"width": size[0], "height": size[1]})
    call = stub.add_call("+49 30 5550142", "Maria Keller", recording="a.wav")
    await stub.update(call, notes=["same-codec-without-hook"])
    await select(page, call)
    await stub.ask(call, "Has asked for a person", "urgent")  # one more line above
    stub.fail("POST", "/coach", 503, "pbx-unavailable")
    await page.get_by_test_id("coach-text").fill("Refund approved")
    await page.keyboard.press("Enter")
    toast = page.get_by_test_id("toast")
    await expect(toast).to_be_visible()
    covered = """toast => { const a = toast.getBoundingClientRect();
        return [...document.querySelectorAll("tk-call .call > header, tk-call .notes, tk-dock, tk-banner, tk-topbar")]
            .filter(one => { const b = one.getBoundingClientRect();
                return a.top < b.bottom && b.top < a.bottom && a.left < b.right && b.left < a.right; })
            .map(one => one.tagName); }"""
    assert await toast.evaluate(covered) == []
