"""A real Chromium that reaches the worker by a real coturn only, with the login that a session gets."""

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from media import turn
from media.network import host_addresses
from media.pool import IceServer, MediaSettings, Pool
from tests.support.chromium_leg import leg_page
from tests.support.sound_path import patch
from tests.unit.media.pbx_end import PbxEnd
from web.demo.tones import AGENT_HZ

from .panel_stub import CHROMIUM
from .test_network import hears_whole

COTURN = shutil.which("turnserver")
SECRET = "a secret of coturn and the service"
PBX_HZ = 400

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),  # the browser lives in the session's loop
    pytest.mark.skipif(not CHROMIUM, reason="no chromium on PATH; `make test` installs Debian's"),
    pytest.mark.skipif(not COTURN, reason="no turnserver on PATH: the relay was NOT TESTED (Debian's coturn has it)"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pool() -> AsyncIterator[Pool]:
    async with Pool(MediaSettings(suppression=False, max_lateness_ms=10_000)) as pool:
        yield pool


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def relay(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The URL of a coturn that knows the secret, on an address that a browser sends from."""
    folder, host = tmp_path_factory.mktemp("coturn"), host_addresses()[0]
    port = free_port(host)
    assert COTURN is not None
    process = await asyncio.create_subprocess_exec(
        COTURN, "-n", "--use-auth-secret", f"--static-auth-secret={SECRET}", "--realm=test", "--no-tls", "--no-dtls",
        "--no-cli", f"--listening-ip={host}", f"--relay-ip={host}", f"--listening-port={port}", "--log-file=stdout",
        f"--pidfile={folder / 'pid'}", f"--userdb={folder / 'db'}",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await listening(host, port)
        yield f"turn:{host}:{port}"
    finally:
        process.kill()
        await process.wait()


def free_port(host: str) -> int:
    with socket.socket() as taken:
        taken.bind((host, 0))
        return int(taken.getsockname()[1])


async def listening(host: str, port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, port)
            except OSError:
                await asyncio.sleep(0.1)
            else:
                writer.close()
                return


@asynccontextmanager
async def relayed(browser: Browser, relay: str, secret: str) -> AsyncIterator[tuple[Page, str]]:
    """A page and its offer, whose only candidates are the relay's."""
    login = turn.current([IceServer(relay, secret=secret)], "anna")[0]
    server = {"urls": login.url, "username": login.username, "credential": login.credential}
    async with leg_page(browser) as page:
        wish = {"iceTransportPolicy": "relay", "iceServers": [server]}
        yield page, str(await page.evaluate("wish => offer(false, wish)", wish))


async def test_sound_goes_both_ways_through_coturn(toned: Browser, pool: Pool, relay: str) -> None:
    async with relayed(toned, relay, SECRET) as (page, offer):
        kinds = {line.split(" typ ")[1].split()[0] for line in offer.splitlines() if line.startswith("a=candidate:")}
        assert kinds == {"relay"}
        opened = await pool.open_leg(offer, owner="test")
        await page.evaluate("sdp => accept(sdp)", opened.answer)
        async with PbxEnd(await patch(pool, opened.leg, 16_000), hertz=PBX_HZ) as pbx:
            await hears_whole(pbx, AGENT_HZ)
            assert await page.evaluate(f"level({PBX_HZ}, 1)") > -40
        await pool.close_leg(opened.leg)


async def test_a_login_made_with_another_secret_gets_no_relay(toned: Browser, relay: str) -> None:
    async with relayed(toned, relay, "another") as (_, offer):
        assert "a=candidate:" not in offer
