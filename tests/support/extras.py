"""Packages that only a measurement needs: in a virtual environment of their own, so that nobody else carries them."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
_HERE = "TAKEOVER_EXTRAS"


def run_with(group: str) -> Mapping[str, str]:
    """Goes on inside an environment with the dependency group `group` of pyproject.toml; made where it is missing.

    Does not return the first time: the process begins again in there. The second time it returns what could not be
    installed, by package, with the reason. Raises CalledProcessError where no environment can be made at all.
    """
    if os.environ.get(_HERE) == group:
        return _missing(ROOT / ".cache" / group)
    folder = ROOT / ".cache" / group
    wanted, made = _group(group), folder / "made-for"
    if not made.is_file() or made.read_text(encoding="utf-8") != "\n".join(wanted):
        _make(folder, wanted)
    arguments = [str(folder / "bin" / "python"), *sys.orig_argv[1:]]
    return os.execve(arguments[0], arguments, {**os.environ, _HERE: group, "PYTHONPATH": str(ROOT)})


def _group(name: str) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [str(one) for one in project["dependency-groups"][name]]


def _make(folder: Path, wanted: list[str]) -> None:
    print(f"installing {len(wanted)} packages into {folder} (a minute, once)", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True, stdout=sys.stderr)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    reasons = []
    # One by one: a peer without a wheel for this machine must not keep the others out.
    for package in wanted:
        done = subprocess.run([*pip, package], check=False, stderr=subprocess.PIPE, stdout=sys.stderr, text=True)
        if done.returncode:
            reasons.append(f"{package}\t{(done.stderr.strip().splitlines() or ['pip failed'])[-1]}")
            print(f"NOT INSTALLED {reasons[-1]}", file=sys.stderr, flush=True)
    (folder / "missing").write_text("\n".join(reasons), encoding="utf-8")
    (folder / "made-for").write_text("\n".join(wanted), encoding="utf-8")


def _missing(folder: Path) -> dict[str, str]:
    lines = (folder / "missing").read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t", 1) for line in lines)
