"""What the documents promise is there: files, commands, routes, and code that works as printed."""

import re
import shlex
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from connector.ailink import Hook, Links, sign
from media.pool import WorkerStats
from tests.unit.web.house import House
from tests.unit.web.test_media_samples import LINE, TOTALS
from web import main, webhooks
from web.cli import _parser
from web.medialegs import media_samples
from web.metrics import exposition
from web.settings import Settings

ROOT = Path(__file__).parents[3]
DOCUMENTS = [
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("administrators", "agents", "ai-engineers", "supervisors")),
    ROOT / "docs" / "integrations" / "README.md",
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


def test_the_printed_check_of_a_signature_works() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "ai-engineers.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    body, now = b'{"id":"1"}', int(time.time())
    assert names["genuine"]("s3cret", sign("s3cret", body, now), body)
    assert not names["genuine"]("other", sign("s3cret", body, now), body)
    assert not names["genuine"]("s3cret", sign("s3cret", body, now), body + b" ")
    assert not names["genuine"]("s3cret", sign("s3cret", body, now - 400), body)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_printed_settings_are_accepted(document: Path) -> None:
    for block in re.findall(r"```yaml\n(.*?)```", document.read_text(), re.DOTALL):
        tree = yaml.safe_load(block)
        if isinstance(tree, dict) and tree.keys() <= Settings.model_fields.keys():
            Settings.model_validate({"pbx": {"main": {"kind": "asterisk", "username": "takeover"}}, **tree})


@pytest.mark.parametrize("text", [path.read_text() for path in DOCUMENTS], ids=[path.name for path in DOCUMENTS])
async def test_routes_that_are_named_exist(house: House, text: str) -> None:
    shapes = [re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(route.path)) for route in house.routes()]
    for named in re.findall(r"`(?:GET|POST|PATCH|PUT|DELETE) (/[a-z0-9/{}._-]+)", text):
        assert any(re.fullmatch(shape, named) for shape in shapes), named


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_printed_commands_are_understood(document: Path) -> None:
    """Those in blocks of code; prose may shorten."""
    for _, block in re.findall(r"^```(\w*)\n(.*?)^```$", document.read_text(), re.DOTALL | re.MULTILINE):
        for named in re.findall(r"takeover ((?:user|token|audit|calls|doctor) [^\n|#]+)", block):
            _parser().parse_args(shlex.split(named))


def expanded(text: str) -> set[str]:
    """Names of metrics in a text: ``takeover_line_{a,b}{of}`` is two, with a label."""
    found = set()
    for start, choices, end in re.findall(r"(takeover_[a-z0-9_]*)(?:(?<=_)\{([a-z0-9_,]+)\}([a-z0-9_]*))?", text):
        found |= {start + choice + end for choice in choices.split(",")} if choices else {start}
    return found


async def test_every_metric_is_explained_and_every_explained_one_is_there(house: House) -> None:
    hook = Hook("chat", "https://chat.example.com")
    samples = [
        *media_samples([WorkerStats(0, 100, 2, 1, 0.4, 0, "fast")], [LINE], TOTALS),
        *webhooks.samples(Links([hook], house.store.outbox, house.store.audit)),
        *main._join_samples({}),
    ]
    visitor = await house.person("root", "admin")
    text = exposition(samples) + (await visitor.ask("GET", "/metrics")).body
    exported = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    page = (ROOT / "docs" / "administrators.md").read_text()
    table = page.partition("| metric | watch |")[2].partition("\n\n")[0]
    assert expanded(table) == exported
    alerts = yaml.safe_load((ROOT / "config" / "takeover.rules.yml").read_text())
    for rule in alerts["groups"][0]["rules"]:
        assert expanded(rule["expr"]) <= exported, rule["alert"]
        assert rule["annotations"]["summary"]
