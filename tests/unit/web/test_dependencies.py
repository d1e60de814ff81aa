"""What is imported is declared: a package that only another one brings along may go with its next version."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[3]
OURS = {"connector", "media", "web"}
TRAINING = ROOT / "media" / "denoise" / "training"
"""Not for the service; it names what it needs itself."""

ELSEWHERE = {
    "pydantic_core",  # pydantic's own other half, in the one version that fits it
    "playwright",  # for `make demo ARGS=--check` only, which runs in a checkout with the group `dev`
}


def imported(path: Path) -> set[str]:
    """The top-level packages that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module is not None:
            found.add(node.module.partition(".")[0])
    return found


def test_every_package_that_is_imported_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    declared = {plain(re.split(r"[^A-Za-z0-9._-]", one)[0]) for one in wanted}
    distributions = packages_distributions()
    modules = [path for folder in OURS for path in (ROOT / folder).rglob("*.py") if TRAINING not in path.parents]
    assert len(modules) > 100
    others = set().union(*(imported(path) for path in modules)) - set(sys.stdlib_module_names) - OURS
    undeclared = {name for name in others if not declared & {plain(one) for one in distributions.get(name, [name])}}
    assert undeclared == ELSEWHERE


def plain(name: str) -> str:
    return name.lower().replace("_", "-")
