"""The agent's own line: on duty, microphone, UDP, and the check before it. Real Chromium, scripted server."""

import pytest
from playwright.async_api import Page, async_playwright, expect

from .panel_stub import ARGUMENTS, CHROMIUM, PanelStub
from .steps import AUDIBLE, banner, select, take_over

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),  # the browser lives in the session's loop
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH; `make test` installs Debian's"),
]


async def test_going_on_duty_that_fails_says_why_until_it_works(page: Page, stub: PanelStub) -> None:
    stub.fail("POST", "/legs", 503, "store-unavailable")
    await page.get_by_test_id("duty-on").click()
    toast = page.get_by_test_id("toast")
    await expect(toast).to_contain_text("You are not on duty. The audit cannot be written")
    await page.get_by_test_id("duty-on").click()
    await expect(page.get_by_test_id("duty-off")).to_be_visible()
    await expect(toast).to_have_count(0)


async def test_the_check_before_duty_asks_all_questions_and_leaves_nothing_open(page: Page, stub: PanelStub) -> None:
    await page.keyboard.press("q")
    await expect(page.get_by_test_id("finding-mic")).to_contain_text("Fake")
    for finding in ("mic", "line", "delay"):
        await expect(page.get_by_test_id(f"finding-{finding}")).to_have_attribute("data-tone", "good")
    # Chromium's own fake microphone beeps at full scale, and the check says so.
    await expect(page.get_by_test_id("finding-level")).to_have_attribute("data-tone", "warn")
    await page.get_by_test_id("check-echo").click()
    await expect(page.get_by_test_id("finding-echo")).not_to_have_attribute("data-tone", "wait")
    await page.get_by_test_id("check-close").click()
    await expect(page.get_by_test_id("duty-state")).to_have_text("Off duty")
    legs = [method for method, path, _ in stub.asked if path.startswith("/legs")]
    assert legs == ["POST", "DELETE"]


async def test_the_check_before_duty_names_blocked_udp_and_leads_to_duty(page: Page, stub: PanelStub) -> None:
    stub.udp_blocked = True
    await page.get_by_test_id("mic-test").click()
    await expect(page.get_by_test_id("finding-line")).to_contain_text("UDP is blocked")
    stub.udp_blocked = False
    await page.get_by_test_id("check-duty").click()
    await expect(page.get_by_test_id("duty-off")).to_be_visible(timeout=15000)


async def test_sound_that_stops_arriving_is_said(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    await page.route("**/api/v1/legs", lambda route: route.abort())  # or a new connection brings it back
    stub.stop_sound()
    fault = page.locator('[data-testid="fault"][data-fault="flow"]')
    await expect(fault).to_contain_text("you do not hear the call", timeout=20000)
    await banner(page, "live")


async def test_sound_that_stops_arriving_comes_back_by_another_connection(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    leg = await page.evaluate("sessionStorage.getItem('takeover.leg')")
    async with page.expect_request("**/api/v1/legs") as asked:
        stub.stop_sound()
    body = (await asked.value).post_data_json
    assert body is not None
    assert body["replace"] == leg
    await stub.loudest(0.5)
    await expect(page.locator('[data-testid="fault"]')).to_have_count(0)
    await banner(page, "live")
    assert await page.evaluate("sessionStorage.getItem('takeover.leg')") == leg


async def test_a_lost_leg_is_opened_again(page: Page, stub: PanelStub) -> None:
    await page.get_by_test_id("duty-on").click()
    await expect(page.get_by_test_id("duty-off")).to_be_visible()
    async with page.expect_request(lambda one: one.method == "POST" and one.url.endswith("/legs"), timeout=15000):
        await stub.lose_leg()
    await expect(page.get_by_test_id("duty-off")).to_be_visible(timeout=15000)
    legs = [1 for method, path, _ in stub.asked if (method, path) == ("POST", "/legs")]
    assert len(legs) == 2
    assert await stub.loudest(1.5) < AUDIBLE


async def test_a_line_moved_to_another_window_is_not_taken_back(page: Page, stub: PanelStub) -> None:
    await page.get_by_test_id("duty-on").click()
    await expect(page.get_by_test_id("duty-off")).to_be_visible()
    await stub.lose_leg("closed")
    await expect(page.get_by_test_id("toast")).to_contain_text("moved to another window")
    await expect(page.get_by_test_id("duty-on")).to_be_visible()
    await page.wait_for_timeout(2000)
    assert len([1 for method, path, _ in stub.asked if (method, path) == ("POST", "/legs")]) == 1


async def test_a_listener_goes_off_duty_with_one_click_and_a_speaker_learns_why_not(
    page: Page, stub: PanelStub
) -> None:
    call = stub.add_call("+49 30 5550142", "Maria Keller")
    await stub.update(call)
    await select(page, call)
    off = page.get_by_test_id("duty-off")
    await page.get_by_test_id("mode-takeover").click()
    await banner(page, "live")
    await off.click(force=True)  # as people do: it only looks disabled, so that it can say why
    await expect(page.get_by_test_id("toast")).to_have_text("Return the call to the AI first.")
    await expect(off).to_have_attribute("title", "Return the call to the AI first.")
    await page.get_by_test_id("mode-monitor").click()
    await banner(page, "listen")
    await off.click()
    await banner(page, "idle")
    await expect(page.get_by_test_id("duty-on")).to_be_visible()
    await expect(page.get_by_test_id("banner")).to_contain_text("OFF DUTY")


async def test_the_check_does_not_say_that_nobody_hears_to_somebody_who_is_heard(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)
    await page.keyboard.press("q")
    await expect(page.get_by_test_id("toast")).to_contain_text("Somebody hears you now.")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await page.keyboard.press("1")
    await banner(page, "listen")
    await page.keyboard.press("q")
    await expect(page.get_by_role("dialog")).to_contain_text("Nobody hears you")


async def test_a_line_of_another_window_is_moved_only_on_demand(page: Page, stub: PanelStub) -> None:
    stub.fail("POST", "/legs", 409, "leg-exists", leg="another window's")
    await page.get_by_test_id("duty-on").click()
    await page.get_by_test_id("move-confirm").click()
    await expect(page.get_by_test_id("duty-off")).to_be_visible()
    bodies = [body for method, path, body in stub.asked if (method, path) == ("POST", "/legs")]
    assert [body.get("replace", False) for body in bodies] == [False, True]


async def test_every_line_is_opened_with_a_turn_login_that_is_good_now(page: Page, stub: PanelStub) -> None:
    stub.ice_servers = [{"urls": "turn:127.0.0.1:9", "username": "early", "credential": "x"}]
    await page.add_init_script(
        """globalThis.logins = [];
        globalThis.RTCPeerConnection = class extends RTCPeerConnection {
            constructor(facts) { super(facts); logins.push(facts.iceServers.map(one => one.username).join()); } };"""
    )
    await page.reload()
    await expect(page.get_by_test_id("lamp")).to_have_attribute("data-up", "true")
    stub.ice_servers = [{"urls": "turn:127.0.0.1:9", "username": "late", "credential": "x"}]
    await page.get_by_test_id("duty-on").click()
    await expect(page.get_by_test_id("duty-off")).to_be_visible()
    assert await page.evaluate("logins") == ["late"]


async def test_a_busy_media_server_is_asked_again(page: Page, stub: PanelStub) -> None:
    stub.fail("POST", "/legs", 503, "overloaded")
    await page.get_by_test_id("duty-on").click()
    await expect(page.get_by_test_id("duty-off")).to_be_visible()
    await expect(page.get_by_test_id("toast")).to_have_count(0)


async def test_a_denied_microphone_is_explained_and_can_be_allowed_afterwards(stub: PanelStub) -> None:
    stub.logged_in = True
    asking = [one for one in ARGUMENTS if one != "--use-fake-ui-for-media-stream"]  # nobody clicks "Allow" by itself
    async with (
        async_playwright() as playwright,
        await playwright.chromium.launch(executable_path=CHROMIUM, args=asking) as browser,
        await browser.new_page(locale="en-GB") as page,
    ):
        await page.goto(stub.url)
        await page.get_by_test_id("duty-on").click()
        fault = page.locator('[data-testid="fault"][data-fault="microphone"]')
        await expect(fault).to_contain_text("Allow it by the symbol in the address bar")
        await expect(page.get_by_test_id("duty-state")).to_have_text("Off duty")
        assert [path for _, path, _ in stub.asked if path.startswith("/legs")] == []
        await expect(page.get_by_test_id("toast")).to_have_count(0)  # said once, where what helps stands
        await page.context.grant_permissions(["microphone"])
        await fault.get_by_role("button", name="Try again").click()
        await expect(fault).to_have_count(0)
        await page.get_by_test_id("duty-on").click()
        await expect(page.get_by_test_id("duty-off")).to_be_visible()


async def test_a_microphone_that_another_program_holds_is_not_said_to_be_missing(page: Page, stub: PanelStub) -> None:
    await page.evaluate(
        """() => { navigator.mediaDevices.getUserMedia = () =>
            Promise.reject(new DOMException("Could not start audio source", "NotReadableError")); }"""
    )
    await page.get_by_test_id("duty-on").click()
    await expect(page.get_by_test_id("fault")).to_contain_text("another program may be using it")
    await expect(page.get_by_test_id("toast")).to_have_count(0)


async def test_a_machine_whose_sound_output_never_starts_still_goes_on_duty(page: Page, stub: PanelStub) -> None:
    # As Firefox does where there is no loudspeaker: the promise stays open.
    await page.add_init_script(
        """AudioContext.prototype.resume = () => new Promise(() => {});
        Object.defineProperty(AudioContext.prototype, "state", { get: () => "suspended" });"""
    )
    await page.reload()
    await page.get_by_test_id("duty-on").click()
    await expect(page.get_by_test_id("duty-off")).to_be_visible()


async def test_all_that_is_wrong_with_the_own_line_is_said_and_details_on_demand(page: Page, stub: PanelStub) -> None:
    await take_over(page, stub)  # with Chromium's own fake microphone, which beeps at full scale
    await stub.quality(echo=True, lost=0.08, recovered=40, concealed=5)
    line = page.locator("tk-line")
    for told in ("The caller hears an echo", "Too loud, it distorts", "8 % of your sound is lost"):
        await expect(line).to_contain_text(told)
    restored = page.get_by_text("Restored")
    await expect(restored).to_be_hidden()
    await page.get_by_text("Details").click()
    await expect(restored).to_be_visible()
    await expect(page.get_by_test_id("quality-details")).to_contain_text("1 %")
    await page.set_viewport_size({"width": 390, "height": 844})
    await expect(restored).to_be_hidden()
    await expect(page.get_by_text("The caller hears an echo")).to_be_visible()


async def test_blocked_udp_is_explained(page: Page, stub: PanelStub) -> None:
    stub.udp_blocked = True
    await page.get_by_test_id("duty-on").click()
    fault = page.locator('[data-testid="fault"][data-fault="udp"]')
    await expect(fault).to_contain_text("UDP is blocked")
    stub.udp_blocked = False
    await fault.get_by_role("button", name="Try again").click()
    await expect(page.get_by_test_id("duty-off")).to_be_visible()
    await expect(fault).to_have_count(0)


async def test_going_off_duty_says_nothing_of_a_line_that_had_ended_already(page: Page, stub: PanelStub) -> None:
    await page.get_by_test_id("duty-on").click()
    await page.get_by_test_id("duty-off").wait_for()
    stub.fail("DELETE", "", 404, "not-found", "There is no leg 'x' of yours; open one with POST /api/v1/legs.")
    async with page.expect_response(lambda answer: answer.url.endswith("/session/duty")):
        await page.get_by_test_id("duty-off").click()
    await expect(page.get_by_test_id("duty-on")).to_be_visible()
    await expect(page.get_by_test_id("toast")).to_have_count(0)


async def test_a_refusal_is_told_in_the_language_of_the_panel(page: Page, stub: PanelStub) -> None:
    await page.get_by_label("Language").select_option("de")
    await stub.update(call := stub.add_call("+49 30 5550142", "Maria Keller"))
    await select(page, call)
    stub.fail("POST", "/engagements", 403, "not-allowed", "You may not monitor here.")
    await page.get_by_test_id("mode-monitor").click()
    await expect(page.get_by_test_id("toast")).to_contain_text("Das dürfen Sie nicht.")
