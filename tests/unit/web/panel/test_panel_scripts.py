"""Runs the panel's own unit tests, which are JavaScript like the panel, with Node."""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is needed only to test the panel, and is not installed")
def test_the_panels_own_unit_tests() -> None:
    tests = sorted(str(path) for path in HERE.glob("*.test.js"))
    assert tests
    done = subprocess.run(["node", "--test", *tests], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout
