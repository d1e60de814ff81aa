"""The embedded Asterisk: starts, stands beside others, restarts, freezes, and leaves nothing behind."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.support.processes import alive, frozen, gone
from web.demo.ami import AmiLink, AmiRefused
from web.demo.asterisk import Installation, Instance, new_enough
from web.demo.packages import NotProvided
from web.demo.pbxconfig import PbxConfig, Ports
from web.demo.ports import free_ports

ORPHAN = """
import asyncio, sys
from web.demo.asterisk import Instance, provide

async def main():
    async with Instance(await provide(print)) as pbx:
        print("pid", pbx.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_it_is_new_enough_and_has_all_our_dialplan_needs(installation: Installation) -> None:
    assert new_enough(installation.version)
    async with Instance(installation, PbxConfig()) as pbx:
        shown = await pbx.command("dialplan show takeover-agent")
        assert any("BridgeAdd(${TK_CALLER})" in line for line in shown)
        log = pbx.log.read_text()
        assert "extensions_takeover.conf" not in "".join(line for line in log.splitlines() if "ERROR" in line)


async def test_two_instances_side_by_side_do_not_meet(installation: Installation) -> None:
    async with Instance(installation) as one, Instance(installation) as other:
        assert {one.ports.ami, one.ports.sip} & {other.ports.ami, other.ports.sip} == set()
        assert await one.channels() == await other.channels() == []
        await one.command("database put lab key value")
        assert "key" not in "".join(await other.command("database show lab"))


async def test_the_service_user_has_its_rights_and_no_more(installation: Installation) -> None:
    async with Instance(installation) as pbx:
        access = pbx.ami
        async with await AmiLink.open(access.host, access.port, access.user, access.secret) as link:
            for allowed in ("Ping", "CoreStatus", "CoreShowChannels", "BridgeList"):
                await link.action(allowed)
            for denied in ("ModuleCheck", "UserEvent", "GetConfig"):
                with pytest.raises(AmiRefused, match="Permission denied"):
                    await link.action(denied)
            with pytest.raises(AmiRefused, match="Permission denied"):
                await link.command("core show version")
            with pytest.raises(AmiRefused):
                await link.action("Originate", Channel="Local/s@x", Application="System", Data="true")


async def test_a_wrong_secret_is_refused(installation: Installation) -> None:
    async with Instance(installation) as pbx:
        with pytest.raises(AmiRefused, match="Authentication failed"):
            await AmiLink.open(pbx.ports.host, pbx.ports.ami, "takeover", "wrong")


async def test_restart_keeps_the_ports(installation: Installation) -> None:
    async with Instance(installation) as pbx:
        before, ports = pbx.pid, pbx.ports
        await pbx.restart()
        assert pbx.ports == ports
        assert pbx.pid != before
        assert await pbx.channels() == []


async def test_frozen_it_says_nothing_and_thawed_it_goes_on(installation: Installation) -> None:
    async with Instance(installation) as pbx:
        with frozen(pbx.pid):
            question = asyncio.create_task(pbx.command("core show uptime"))
            done, _ = await asyncio.wait({question}, timeout=0.3)
            assert not done
        assert any("System uptime" in line for line in await question)


async def test_killed_nothing_of_it_is_left(installation: Installation) -> None:
    pbx = Instance(installation)
    async with pbx:
        pid, home = pbx.pid, pbx.home
        await pbx.kill()
        assert not alive(pid)
        with pytest.raises(RuntimeError, match="not running"):
            _ = pbx.pid
    assert not home.exists()


async def test_it_dies_with_the_process_that_started_it(installation: Installation) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ORPHAN), stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert parent.stdout is not None
    async with asyncio.timeout(30):
        async for line in parent.stdout:
            if line.startswith(b"pid "):
                break
    pid = int(line.split()[1])
    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()
    assert await gone(pid)


async def test_it_says_why_when_it_does_not_start(installation: Installation) -> None:
    broken = PbxConfig(extra={"modules.conf": "[modules]\nautoload=no\nrequire=no_such_module.so\n"})
    with pytest.raises(NotProvided, match=r"(?s)did not start: it ended.*no_such_module"):
        async with Instance(installation, broken):
            pass


def test_free_ports_do_not_overlap() -> None:
    seen: set[Ports] = {free_ports() for _ in range(5)}
    assert all(ports.rtp_first % 2 == 0 and ports.rtp_last > ports.rtp_first + 100 for ports in seen)
