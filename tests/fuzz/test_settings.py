"""Whatever a settings file holds: settings, or faults in words. Never a crash, never a secret in a message."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from web.settings import Settings, SettingsError, load, parse

EXAMPLE = yaml.safe_load((Path(__file__).parents[2] / "config" / "takeover.example.yaml").read_text())
SECRET = "hunter2-hunter2"
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


def outcome(text: str) -> Settings | list[str]:
    try:
        return parse(text, folder=Path("/nowhere"), variables={})
    except SettingsError as error:
        told = error
    assert told.faults
    assert SECRET not in str(told)
    return [str(fault) for fault in told.faults]


@settings(deadline=None)  # PyYAML takes its time with deep nesting
@given(st.text(max_size=300))
@example("a: &a [*a]")
@example("{a: 1, a: 2}")
@example("? [a, b] : c")
@example("a: !!binary '=='")
@example("[" * 1100)
@example("a: 2026-13-45")
@example("\0")
@example("- &x {<<: *x}")
def test_any_text(text: str) -> None:
    assert outcome(text)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:

    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(data)
        file.flush()
        with pytest.raises(SettingsError) as told:
            load(Path(file.name), {})
    assert told.value.faults


def paths(tree: Any, here: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Where something could be put instead."""
    found: list[tuple[str | int, ...]] = [here]
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        found += paths(value, (*here, key))
    return found


def with_one_changed(tree: Any, path: tuple[str | int, ...], value: Any) -> Any:
    if not path:
        return value
    key, rest = path[0], path[1:]
    if isinstance(tree, dict):
        return {**tree, key: with_one_changed(tree[key], rest, value)}
    changed = list(tree)
    assert isinstance(key, int)
    changed[key] = with_one_changed(tree[key], rest, value)
    return changed


@settings(deadline=None)
@given(st.sampled_from(paths(EXAMPLE)), TREES)
def test_anything_anywhere_in_the_example(path: tuple[str | int, ...], value: Any) -> None:
    tree = with_one_changed(EXAMPLE, path, value)
    if path and isinstance(tree.get("pbx"), dict) and isinstance(tree["pbx"].get("main"), dict):
        tree["pbx"]["main"]["secret"] = SECRET
    assert outcome(yaml.safe_dump(tree, allow_unicode=True))
