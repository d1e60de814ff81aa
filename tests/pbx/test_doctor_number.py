"""`takeover doctor --call NUMBER` on a real Asterisk: a call through the site's own dialplan."""

import uuid
from typing import Any

import pytest

from tests.support.doctor import called
from tests.support.lab import Lab
from web.commands.testcall.number import Number
from web.demo.asterisk import Installation

from .test_doctor_call import without

KEY = str(uuid.uuid4())
RULES = [{"name": "bot", "match": "^PJSIP/ai"}]
SITE = """
[carrier]
exten => _10X,1,Answer()
 same => n,Goto(ai,${EXTEN},1)
exten => 200,1,Dial(PJSIP/nobody,1)
 same => n,Hangup()
[ai]
exten => 100,1,Dial(PJSIP/ai/sip:KEY@HOST,30,g)
exten => 102,1,Gosub(takeover,register,1(,,,))
 same => n,AudioSocket(KEY,SOCKET)
"""


class Site:
    """A lab whose Asterisk has a dialplan like a call center's."""

    def __init__(self, installation: Installation, **more: Any) -> None:
        self.lab = Lab(installation, **more)

    async def __aenter__(self) -> Lab:
        lab = await self.lab.__aenter__()
        sip, socket = lab.ais.sip.phone, lab.ais.audiosocket
        text = SITE.replace("KEY", KEY).replace("HOST", f"{sip.host}:{sip.port}")
        text = text.replace("SOCKET", f"{socket.host}:{socket.port}")
        extensions = lab.pbx.home / "etc" / "extensions.conf"
        extensions.write_text(extensions.read_text() + text)
        await lab.pbx.command("dialplan reload")
        return lab

    async def __aexit__(self, *_: object) -> None:
        await self.lab.__aexit__(*_)


def given(lab: Lab, ais: Any = RULES) -> dict[str, object]:
    return {**lab.service_settings(lab.pbx.ami.port), "ais": ais}


async def test_a_number_leads_to_an_ai_that_is_taken_over_and_comes_back(installation: Installation) -> None:
    async with Site(installation) as lab:
        outcome, facts = await called(given(lab), Number("100", "carrier"))
        await lab.no_channels()
    assert facts["faults"] == [], outcome.lines
    assert facts["call"]["reached"].startswith("bot (PJSIP/ai-")
    assert facts["call"]["times_ms"]["agent_heard"] is not None
    assert facts["call"]["times_ms"]["ai_back"] is not None
    assert outcome.lines[-1].endswith("everybody heard whom they should, and nobody else")


FAULTS: tuple[tuple[str, Any, list[str]], ...] = (
    ("999", RULES, ["no number 999 in [carrier]", "dialplan show carrier"]),
    (
        "100",
        [{"name": "bot", "match": "^PJSIP/robot"}],
        ["PJSIP/ai-", "(answered)", "'^PJSIP/robot'", "match: '^PJSIP/ai'"],
    ),
    ("200", RULES, ["was over before it reached an AI", "dialplan show 200@carrier"]),
    ("102", [{"name": "bot", "match": "^AudioSocket/"}], ["bot is recognised", "not to be taken over"]),
)


async def test_what_keeps_an_ai_from_being_taken_over_is_named(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.commands.testcall.dialled.REACHED_S", 4.0)
    async with Site(installation) as lab:
        for number, ais, words in FAULTS:
            outcome, facts = await called(given(lab, ais), Number(number, "carrier"))
            await lab.no_channels()
            assert outcome.code == 1
            [fault] = facts["faults"]
            for word in words:
                assert word in fault["remedy"]


async def test_an_ai_that_is_not_muted_is_heard(installation: Installation) -> None:
    async with Site(installation, extra=without(installation, "res_mutestream.so")) as lab:
        outcome, facts = await called(given(lab), Number("100", "carrier"))
    assert outcome.code == 1
    assert any("heard more than the other's voice" in fault["remedy"] for fault in facts["faults"]), outcome.lines
