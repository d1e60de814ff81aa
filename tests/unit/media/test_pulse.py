"""Who is frozen, and who only gets no core: in virtual time, and with real processes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from media.pulse import STARVED, Silence, cpu_if_waiting

LIMIT, ROUND = 1.5, 0.25
BUSY = (sys.executable, "-c", "print(flush=True)\nwhile True: pass")
IDLE = (sys.executable, "-c", "import time; print(flush=True); time.sleep(60)")


def rounds(cpu: list[float | None]) -> int:
    """In which round of silence it was too long; `cpu`: what each one finds."""
    silence = Silence(LIMIT)
    for number, found in enumerate(cpu):
        silence.add(ROUND, found)
        if silence.over:
            return number
    raise AssertionError("it was never too long")


def test_who_sleeps_or_is_stopped_has_the_limit() -> None:
    assert rounds([None] * 100) == 6


def test_who_computes_all_the_time_has_the_limit_too() -> None:
    assert rounds([7 + ROUND * number for number in range(100)]) == 6


def test_who_gets_no_core_has_longer_but_not_for_ever() -> None:
    assert rounds([7.0] * 100) == STARVED / ROUND


def test_who_gets_a_quarter_of_a_core_is_asked_for_what_he_did_with_it() -> None:
    assert rounds([7 + ROUND * number / 4 for number in range(100)]) == STARVED / ROUND
    assert 6 < rounds([7 + ROUND * number / 2 for number in range(100)]) < STARVED / ROUND


def test_a_word_ends_the_silence() -> None:
    silence = Silence(LIMIT)
    for _ in range(6):
        silence.add(ROUND, None)
    silence.ended()
    for _ in range(6):
        silence.add(ROUND, None)
    assert not silence.over


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
@pytest.mark.parametrize(
    ("what", "blow", "excused"), [(BUSY, 0, True), (IDLE, 0, False), (BUSY, signal.SIGSTOP, False)]
)
def test_only_who_has_something_to_do_waits_for_a_core(what: tuple[str, ...], blow: int, excused: bool) -> None:
    with subprocess.Popen(what, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            os.kill(process.pid, blow)
            until = time.monotonic() + 10
            while (cpu_if_waiting(process.pid) is not None) != excused:
                assert time.monotonic() < until
                time.sleep(0.01)
        finally:
            process.kill()


def test_who_is_gone_has_no_excuse() -> None:
    with subprocess.Popen((sys.executable, "-c", "")) as process:
        process.wait()
    assert cpu_if_waiting(process.pid) is None
