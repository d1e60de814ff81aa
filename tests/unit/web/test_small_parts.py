"""The small parts: back-off, log-in throttle, notify, logs, certificate."""

import asyncio
import json
import logging
import os
import socket
import ssl
import time
from contextlib import suppress
from pathlib import Path

import pytest
import structlog
from aiohttp import web
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from media.logthread import ThreadHandler
from web import logs
from web.certificate import self_signed
from web.door import Door
from web.errors import StartFailed
from web.listening import listening
from web.main import _plain
from web.metrics import Sample, exposition
from web.notify import notify, watchdog_seconds
from web.settings import Settings
from web.site import Site
from web.throttle import Throttle


def test_each_failure_beyond_the_free_ones_doubles_the_wait() -> None:
    throttle = Throttle(free=3, longest=10)
    waits = []
    for _ in range(9):
        throttle.attempt("anna", 100.0)
        waits.append(throttle.wait("anna", 100.0))
    assert waits == [0, 0, 1, 2, 4, 8, 10, 10, 10]
    assert throttle.wait("anna", 105.0) == 5
    assert throttle.wait("ben", 100.0) == 0


def test_success_and_time_forgive() -> None:
    throttle = Throttle(free=1, forget=60)
    throttle.attempt("anna", 0)
    throttle.attempt("anna", 0)
    throttle.succeeded("anna")
    assert throttle.wait("anna", 0) == 0
    throttle.attempt("anna", 0)
    throttle.attempt("anna", 61)
    assert throttle.wait("anna", 61) == 1  # the first counts no more


@given(st.lists(st.tuples(st.text(max_size=3), st.floats(0, 1e6)), max_size=50))
def test_the_wait_is_bounded_whatever_happens(attempts: list[tuple[str, float]]) -> None:
    throttle = Throttle()
    for key, now in attempts:
        throttle.attempt(key, now)
        assert 0 <= throttle.wait(key, now) <= 300


def test_random_names_do_not_fill_the_memory() -> None:
    throttle = Throttle()
    for number in range(12_000):
        throttle.attempt(str(number), 0.0)
    assert len(throttle) == 10_000


def test_the_service_manager_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert manager.recv(100) == b"READY=1"
        for _ in range(50):  # a manager that does not read: its queue is full long before
            notify("WATCHDOG=1", {"NOTIFY_SOCKET": str(tmp_path / "notify")})
    notify("READY=1", {"NOTIFY_SOCKET": str(tmp_path / "gone")})
    notify("READY=1", {})


@pytest.mark.parametrize(("given", "expected"), [("20000000", 10.0), ("", None), ("x", None), ("0", None)])
def test_half_of_the_watchdogs_patience(given: str, expected: float | None) -> None:
    assert watchdog_seconds({"WATCHDOG_USEC": given}) == expected


@pytest.mark.parametrize("pii", [True, False])
def test_personal_data_is_logged_only_when_asked_for(pii: bool, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(form="json", level="info", pii=pii)
    structlog.get_logger("test").info("call", call="lab~1", **{"pii.number": "+491701234567"})
    logging.getLogger("library").warning("hello %s", "there")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (first["event"], first["call"]) == ("call", "lab~1")
    assert first.get("pii.number") == ("+491701234567" if pii else None)
    assert (second["event"], second["level"]) == ("hello there", "warning")


def test_a_logger_that_was_used_before_takes_a_new_configuration() -> None:
    logger = structlog.get_logger("used")
    logs.configure(form="json")
    logger.info("once")
    with structlog.testing.capture_logs() as lines:
        logger.info("again")
    assert [line["event"] for line in lines] == ["again"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_traces_show_no_local_variables(form: logs.Format, capsys: pytest.CaptureFixture[str]) -> None:

    def login(password: str) -> None:
        raise RuntimeError(f"with {len(password)} characters")

    logs.configure(form=form)
    for logger in (structlog.get_logger("test"), logging.getLogger("library")):
        try:
            login("hunter2-hunter2".upper())
        except RuntimeError:
            logger.exception("failed")
    said = capsys.readouterr().err
    assert said.count("with 15 characters") >= 2
    assert "HUNTER2" not in said


def test_a_self_signed_certificate_is_made_once_and_fits(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "10.0.0.5")
    assert key.stat().st_mode & 0o777 == 0o600
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    assert "10.0.0.5" in [str(one) for one in names.get_values_for_type(x509.IPAddress)]
    first = certificate.read_bytes()
    assert self_signed(tmp_path, "10.0.0.5")[0].read_bytes() == first


def test_metrics_escape_what_prometheus_would_misread() -> None:
    text = exposition([Sample("a", "b", "gauge", {(("pbx", 'x"\\\n'),): 1.5})])
    assert text == '# HELP a b\n# TYPE a gauge\na{pbx="x\\"\\\\\\n"} 1.5\n'


def test_a_failed_start_comes_out_of_its_groups() -> None:
    start = StartFailed("port")
    assert _plain(BaseExceptionGroup("a", [BaseExceptionGroup("b", [start]), ValueError()])) is start
    fault = ValueError()
    assert _plain(BaseExceptionGroup("a", [BaseExceptionGroup("b", [fault])])) is fault
    both = BaseExceptionGroup("a", [ValueError(), KeyError()])
    assert _plain(both) is both


def new_pair(folder: Path, host: str) -> tuple[Path, Path]:
    """A certificate for this host and its key, where the settings of the test below look for them."""
    made = self_signed(folder / host, host)
    for source, target in zip(made, (folder / "cert.pem", folder / "key.pem"), strict=True):
        target.write_bytes(source.read_bytes())
    return made


async def names_at(port: int) -> list[str]:
    """Whom the certificate is for that a new connection gets."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
    found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    names = x509.load_der_x509_certificate(found).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name) for name in names.get_values_for_type(x509.DNSName)]


async def test_a_renewed_certificate_is_read_without_a_restart_and_a_broken_one_is_not(tmp_path: Path) -> None:
    for host in ("first.example", "second.example"):
        (tmp_path / host).mkdir()
    new_pair(tmp_path, "first.example")
    settings = Settings.model_validate(
        {
            "pbx": {"main": {"kind": "asterisk", "username": "t", "secret": "s"}},
            "http": {"port": 0, "tls": {"cert_file": tmp_path / "cert.pem", "key_file": tmp_path / "key.pem"}},
        }
    )
    asked = asyncio.Event()

    async def renewed(said: str) -> None:
        with structlog.testing.capture_logs() as logs:
            asked.set()
            async with asyncio.timeout(5):
                while not any(line["event"] == said for line in logs):  # noqa: ASYNC110 - the log is all there is
                    await asyncio.sleep(0.01)

    async with listening(settings, web.Application(), Door(10, Site(https=True))) as open_:
        renewing = asyncio.create_task(open_.renew(settings, asked))
        assert "first.example" in await names_at(open_.port)
        new_pair(tmp_path, "second.example")
        await renewed("certificate.renewed")
        assert "second.example" in await names_at(open_.port)
        (tmp_path / "key.pem").write_bytes((tmp_path / "first.example" / "self-signed.key").read_bytes())
        await renewed("certificate.kept")
        assert "second.example" in await names_at(open_.port)
        renewing.cancel()


def test_nobody_waits_for_a_log_that_is_not_read() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    with suppress(BlockingIOError):
        while True:
            os.write(write, b"p" * 4_095 + b"\n")
    os.set_blocking(write, True)
    with os.fdopen(write, "w", encoding="utf-8") as stream, os.fdopen(read, encoding="utf-8") as reader:
        handler = ThreadHandler(stream, waiting=50)

        def say(text: str) -> None:
            handler.handle(logging.makeLogRecord({"msg": text}))

        say("0 " + "x" * 100_000)
        while not handler._lines.empty():  # the thread has it, and is stuck: more than any buffer holds
            time.sleep(0.001)
        for number in range(1, 301):
            say(str(number))
        lines = (line for line in reader if not line.startswith("p"))
        assert [next(lines).split()[0] for _ in range(51)] == [str(number) for number in range(51)]
        say("after")
        assert next(lines) == "250 log lines were lost: nobody took them\n"
        assert next(lines) == "after\n"
