"""`.ci/setup`, which brings a new machine to where `make` can go on."""

import shutil
import subprocess
from pathlib import Path

SETUP = Path(__file__).parents[2] / ".ci" / "setup"


def run(folder: Path) -> "subprocess.CompletedProcess[str]":
    """On a machine that has only what is in `folder`, for a person who is not root and may not become it."""
    for name in ("bash", "dirname"):
        (folder / name).symlink_to(shutil.which(name) or name)
    (folder / "id").write_text("#!/bin/sh\necho 1000\n", encoding="utf-8")
    (folder / "id").chmod(0o755)
    bash = str(folder / "bash")
    return subprocess.run([bash, SETUP, "chromium"], env={"PATH": str(folder)}, capture_output=True, text=True)


def test_a_missing_chromium_is_not_passed_over(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 1
    assert "sudo apt-get install chromium" in done.stderr


def test_one_that_is_there_is_taken(tmp_path: Path) -> None:
    (tmp_path / "chromium-browser").symlink_to("/bin/true")
    done = run(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
