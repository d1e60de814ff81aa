"""A headless Firefox, driven by WebDriver BiDi, which it speaks itself: Playwright drives only a build of its own."""

import asyncio
import json
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

PROGRAMS = ("firefox", "firefox-esr")
_PATIENCE = 60.0
_PREFERENCES: dict[str, bool | int | str] = {
    "media.navigator.streams.fake": True,  # its own tone for a microphone
    "media.navigator.permission.disabled": True,
    "media.devices.unfocused.enabled": True,
    "media.autoplay.default": 0,
    "intl.locale.requested": "en-GB",
    "app.update.auto": False,
    "toolkit.telemetry.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
}


def found() -> str | None:
    """The Firefox on PATH."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


class Firefox:
    """One window."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.version = ""
        self._socket = socket
        self._context = ""
        self._number = 0

    async def begin(self) -> None:
        """The session, and the window that it opened with."""
        capabilities = (await self.ask("session.new", capabilities={}))["capabilities"]
        self.version = capabilities["browserVersion"]
        self._context = (await self.ask("browsingContext.getTree"))["contexts"][0]["context"]

    async def ask(self, method: str, **parameters: Any) -> Any:
        """One command, one after the other."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        async with asyncio.timeout(_PATIENCE):
            while (answer := await self._socket.receive_json()).get("id") != self._number:
                pass  # an event
        if answer["type"] == "error":
            raise RuntimeError(f"{method}: {answer['error']}: {answer['message']}")
        return answer["result"]

    async def before_each_page(self, script: str) -> None:
        """Runs in each page before its own scripts."""
        await self.ask("script.addPreloadScript", functionDeclaration=f"() => {{ {script} }}")

    async def open(self, url: str) -> None:
        await self.ask("browsingContext.navigate", context=self._context, url=url, wait="complete")

    async def run(self, body: str) -> Any:
        """What this body of an async function returns, by JSON."""
        code = f"(async () => JSON.stringify(await (async () => {{ {body} }})() ?? null))()"
        target = {"context": self._context}
        said = await self.ask("script.evaluate", expression=code, target=target, awaitPromise=True, userActivation=True)
        if said["type"] != "success":
            raise RuntimeError(said["exceptionDetails"]["text"])
        return json.loads(said["result"]["value"])

    async def until(self, expression: str) -> None:
        """Returns when it is true."""
        begun = time.monotonic()
        while not await self.run(f"return Boolean({expression})"):
            if time.monotonic() - begun > _PATIENCE:
                raise AssertionError(f"never true: {expression}; the page says: {await self.text()}")
            await asyncio.sleep(0.1)

    async def text(self) -> str:
        return str(await self.run("return document.body.innerText"))

    async def click(self, selector: str) -> None:
        """Once it is there and enabled."""
        element = f"document.querySelector({json.dumps(selector)})"
        await self.until(f"{element} && !{element}.disabled && !{element}.hidden")
        await self.run(f"{element}.click()")


@asynccontextmanager
async def firefox(program: str, *, hertz: float) -> AsyncIterator[Firefox]:
    """Its microphone is a tone."""
    profile = Path(tempfile.mkdtemp(prefix="firefox-"))
    chosen = _PREFERENCES | {"media.navigator.audio.fake_frequency": round(hertz)}
    lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in chosen.items())
    (profile / "user.js").write_text("".join(lines))
    process = await asyncio.create_subprocess_exec(
        program, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0", "about:blank",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env={**os.environ, "HOME": str(profile)},
    )  # fmt: skip
    assert process.stdout is not None
    said = process.stdout
    reading: asyncio.Task[bytes] | None = None
    try:
        async with asyncio.timeout(_PATIENCE):
            while b"BiDi listening on" not in (line := await said.readline()):
                if not line:
                    raise RuntimeError(f"{program} ended before it listened")
        reading = asyncio.create_task(said.read())  # or it stops at a full pipe
        url = line.decode().split()[-1] + "/session"
        async with aiohttp.ClientSession() as http, http.ws_connect(url, max_msg_size=0) as socket:
            window = Firefox(socket)
            await window.begin()
            yield window
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        if reading is not None:
            await reading
        shutil.rmtree(profile, ignore_errors=True)
