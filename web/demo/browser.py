"""A real headless Chromium that works the real panel by its test ids, with a tone in place of a microphone."""

import os
import shutil
import tempfile
import time
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from . import tones
from .packages import NotProvided

try:
    from playwright.async_api import Page, Request, ViewportSize, async_playwright
    from playwright.async_api import TimeoutError as TooLate
except ImportError as error:  # a development dependency: the demo itself does without
    raise NotProvided(
        "playwright is not installed; `make demo ARGS=--check` brings it, or pip install playwright"
    ) from error

PATIENCE_MS = 15_000
SILENCE_DB = -120.0
MICROPHONE_RATE = 48_000
MICROPHONE_S = 10  # Chromium plays the file again from its beginning: whole periods, so without a click
VIEW: ViewportSize = {"width": 1280, "height": 720}
ARGUMENTS = (
    # What keeps a headless Chromium from asking anything of the network, and from needing a sandbox in a container.
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
)

# The page's own processing would rightly remove a steady tone. The call's audio is looked at where the page plays it.
_BEFORE_THE_PAGE = """
const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = (wanted) => ask(wanted.audio ? {...wanted, audio: {
  ...(typeof wanted.audio === 'object' ? wanted.audio : {}),
  echoCancellation: false, noiseSuppression: false, autoGainControl: false}} : wanted);
const Native = window.RTCPeerConnection;
window.RTCPeerConnection = class extends Native {
  constructor(...args) {
    super(...args);
    this.addEventListener('track', (event) => { window.remoteTrack = event.track; });
  }
};
"""
_LEVELS = """
async ([frequencies, seconds]) => {
  if (!window.remoteTrack) return null;
  const context = new AudioContext();
  const analyser = new AnalyserNode(context, {fftSize: 8192, smoothingTimeConstant: 0, minDecibels: -120});
  context.createMediaStreamSource(new MediaStream([window.remoteTrack])).connect(analyser);
  await new Promise((done) => setTimeout(done, seconds * 1000));
  const bins = new Float32Array(analyser.frequencyBinCount);
  analyser.getFloatFrequencyData(bins);
  const at = (hz) => Math.max(...[-1, 0, 1].map((k) => bins[Math.round(hz / context.sampleRate * 8192) + k]));
  const levels = frequencies.map(at);
  await context.close();
  return levels;
}
"""


NAMES = ("chromium", "chromium-browser", "google-chrome")


class PanelFault(Exception):
    """The panel did not do what it should; the text says what, where, and what it showed."""


def find() -> str:
    """Path of the browser: $CHROMIUM, or one on PATH; empty if there is none."""
    named = os.environ.get("CHROMIUM")
    return next(filter(None, map(shutil.which, [named] if named else NAMES)), "")


def chromium() -> str:
    """The same; raises NotProvided."""
    if found := find():
        return found
    named = os.environ.get("CHROMIUM") or "on PATH"
    raise NotProvided(f"no Chromium {named}; install the package chromium or set CHROMIUM to its path")


def write_tone(path: Path, hz: float) -> None:
    """A microphone: ten seconds of a tone, mono, 16 bit."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(MICROPHONE_RATE)
        file.writeframes(tones.tone(hz, MICROPHONE_RATE * MICROPHONE_S, MICROPHONE_RATE).astype("<i2").tobytes())


@dataclass
class Panel:
    """The panel in one page, worked as an agent would. Every method raises PanelFault when it does not respond."""

    page: Page
    sent: dict[str, float] = field(default_factory=dict)
    """When the browser sent which unsafe request (`POST engagements`), on the monotonic clock."""
    said: list[str] = field(default_factory=list)
    """Errors on the page's console."""

    async def open(self, link: str) -> None:
        """Logs in by a one-time link."""
        await self.page.goto(link)
        await self.see("call-row")

    async def go_on_duty(self) -> None:
        """Opens the agent leg; the microphone is granted."""
        await self.press("duty-on")
        await self.see("duty-off")

    async def voice_chain_off(self) -> None:
        """No suppression: it would remove the tone."""
        switch = self.page.get_by_test_id("suppression")
        if await switch.get_attribute("aria-checked") != "false":
            await self.press("suppression")
            await self.see("suppression", 'aria-checked="false"')

    async def select(self, call: str) -> None:
        await self._do(f"select call {call}", f'[data-testid="call-row"][data-call="{call}"]')

    async def press(self, name: str) -> None:
        await self._do(f"press {name}", f'[data-testid="{name}"]')

    async def give_back(self, note: str) -> None:
        """Returns the call to the AI with a note."""
        await self.page.get_by_test_id("return-note").fill(note, timeout=PATIENCE_MS)
        await self.press("return-submit")

    async def see(self, name: str, attribute: str = "") -> None:
        """Waits until an element (with an attribute, as `data-state="live"`) is there."""
        selector = f'[data-testid="{name}"]' + (f"[{attribute}]" if attribute else "")
        try:
            await self.page.locator(selector).first.wait_for(timeout=PATIENCE_MS)
        except TooLate:
            raise await self._fault(f"see {name} {attribute}".strip()) from None

    async def text(self, name: str) -> str:
        """What an element says; "" if it is not there."""
        found = self.page.get_by_test_id(name)
        return (await found.first.inner_text()).strip() if await found.count() else ""

    async def hears(self, *frequencies: float, seconds: float = 0.4) -> list[float]:
        """Level of each frequency in dB in what the page plays. Raises PanelFault if it plays nothing."""
        levels = await self.page.evaluate(_LEVELS, [list(frequencies), seconds])
        if levels is None:
            raise PanelFault("the page got no audio track from the service")
        return [max(SILENCE_DB, float(level)) if level is not None else SILENCE_DB for level in levels]

    async def _do(self, what: str, selector: str) -> None:
        try:
            await self.page.locator(selector).first.click(timeout=PATIENCE_MS)
        except TooLate:
            raise await self._fault(what) from None

    async def _fault(self, what: str) -> PanelFault:
        shown = [
            f"{name}: {text}" for name in ("banner", "toast", "fault", "login-error") if (text := await self.text(name))
        ]
        return PanelFault(
            f"could not {what} within {PATIENCE_MS / 1000:g} s; {'; '.join([*shown, *self.said]) or 'no error shown'}"
        )

    def note(self, request: Request) -> None:
        """Remembers when a request left the browser."""
        if request.method in ("POST", "PATCH", "DELETE") and "/api/v1/" in request.url:
            timing = request.timing
            at = (timing["startTime"] + max(0.0, timing["requestStart"])) / 1000
            self.sent[f"{request.method} {request.url.rpartition('/')[2]}"] = at + time.monotonic() - time.time()


@asynccontextmanager
async def panel(microphone_hz: float = tones.AGENT_HZ, *, headless: bool = True) -> AsyncIterator[Panel]:
    """A browser with an empty profile. Raises NotProvided."""
    executable = chromium()
    with tempfile.TemporaryDirectory(prefix="takeover-browser-") as folder:
        sound = Path(folder) / "microphone.wav"
        write_tone(sound, microphone_hz)
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=executable,
                headless=headless,
                args=[*ARGUMENTS, f"--use-file-for-fake-audio-capture={sound}"],
            )
            try:
                context = await browser.new_context(viewport=VIEW, permissions=["microphone"])
                page = await context.new_page()
                await page.add_init_script(_BEFORE_THE_PAGE)
                shown = Panel(page)
                page.on("requestfinished", shown.note)
                page.on("pageerror", lambda error: shown.said.append(str(error)))
                page.on("console", lambda line: shown.said.append(line.text) if line.type == "error" else None)
                yield shown
            finally:
                await browser.close()
