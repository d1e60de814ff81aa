"""The AMI client against a server that misbehaves: one test per trap."""

import asyncio
import gc
import ssl
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from connector.adapter import connected, inbox
from connector.adapter.connected import LoginRefused
from connector.asterisk import client, wire
from connector.asterisk.client import Address, Connection
from connector.asterisk.wire import Message
from connector.domain.errors import BadValue, PbxTimeout, PbxUnavailable, VerbRefused
from tests.support.fake_ami import FakeAmi


def address(fake: FakeAmi, secret: str = "right") -> Address:
    return Address("127.0.0.1", fake.port, "takeover", secret)


def connection(fake: FakeAmi, secret: str = "right") -> Connection:
    return Connection("main", address(fake, secret), lambda _: None)


@pytest.fixture
async def fake() -> AsyncIterator[FakeAmi]:
    async with FakeAmi() as fake:
        yield fake


async def test_it_logs_in_and_asks_only_for_the_classes_it_reads(fake: FakeAmi) -> None:
    async with connection(fake) as ami:
        assert (await ami.ask(wire.PING)).ok
    login = await fake.action("Login")
    assert (login.get("Username"), login.get("Events")) == ("takeover", "system,call,user,dtmf,class")


async def test_a_line_break_is_refused_and_nothing_is_sent(fake: FakeAmi) -> None:
    async with connection(fake) as ami:
        with pytest.raises(BadValue):
            await ami.ask({"Action": "Setvar", "Value": "x\r\nAction: Originate"})
        await ami.ask(wire.PING)
    assert [action.get("Action") for action in fake.received] == ["Login", "Ping"]


async def test_a_character_split_over_two_reads_survives(fake: FakeAmi) -> None:
    async with connection(fake) as ami:
        text = "Event: UserEvent\r\nUserEvent: X\r\nName: Jürgen 😀\r\n\r\n".encode()
        for index in range(len(text)):
            fake.say(text[index : index + 1])
            await asyncio.sleep(0)
        assert (await anext(ami.events()))["name"] == "Jürgen 😀"


async def test_invalid_bytes_do_not_end_the_session(fake: FakeAmi) -> None:
    async with connection(fake) as ami:
        fake.say(b"Event: UserEvent\r\nName: \xff\xfe\r\n\r\n")
        assert (await anext(ami.events()))["name"] == "\ufffd\ufffd"
        assert (await ami.ask(wire.PING)).ok


async def test_a_wrong_password_is_said(fake: FakeAmi) -> None:
    with pytest.raises(LoginRefused) as caught:
        async with connection(fake, "wrong"):
            pass
    assert caught.value.why == ("authentication refused: check pbx.main.username/secret (Authentication failed)")
    assert fake.logins == 1


async def test_nobody_there_is_said_with_the_address(fake: FakeAmi) -> None:
    await fake.vanish()
    with pytest.raises(PbxUnavailable, match=rf"cannot connect to 127\.0\.0\.1:{fake.port}"):
        async with connection(fake):
            pass


async def test_a_port_that_is_not_ami_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_S", 0.1)

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * (client.MAX_BLOCK + 1))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(PbxUnavailable, match="without ending a message: is this an AMI port"):
        async with Connection("main", Address("127.0.0.1", port, "u", "s"), lambda _: None):
            pass
    server.close()


async def test_loss_fails_what_is_under_way_and_nothing_is_replayed(fake: FakeAmi) -> None:
    fake.answers["Hangup"] = lambda _: None
    async with connection(fake) as ami:
        asked = asyncio.create_task(ami.ask(wire.hangup("PJSIP/a-1")))
        await fake.action("Hangup")
        fake.cut()
        with pytest.raises(PbxUnavailable):
            await asked
        with pytest.raises(PbxUnavailable):
            await ami.ask(wire.PING)
        assert [message async for message in ami.events()] == []
    async with connection(fake) as ami:
        await ami.ask(wire.PING)
        await asyncio.sleep(0.05)
    assert fake.count("Hangup") == 1


async def test_a_half_open_link_is_noticed(fake: FakeAmi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connected, "PING_EVERY_S", 0.02)
    monkeypatch.setattr(client, "PING_DEADLINE_S", 0.1)
    async with connection(fake) as ami:
        await fake.action("Ping", count=3)
        assert ami.why == ""
        fake.silent = True
        async with asyncio.timeout(2):
            assert [message async for message in ami.events()] == []
        assert ami.why == "no answer to a ping within 0.1 s"


async def test_an_answer_that_does_not_come_is_a_timeout_and_a_late_one_is_nobodys(fake: FakeAmi) -> None:
    fake.answers["Hangup"] = lambda _: None
    async with connection(fake) as ami:
        with pytest.raises(PbxTimeout, match=r"did not answer Hangup within 0\.05 s"):
            await ami.ask(wire.hangup("PJSIP/a-1"), 0.05)
        late = (await fake.action("Hangup")).get("ActionID")
        fake.say(f"Response: Success\r\nActionID: {late}\r\n\r\n")
        assert (await ami.ask(wire.PING)).ok


async def test_a_cancelled_request_leaves_nothing_behind(fake: FakeAmi) -> None:
    fake.answers["Hangup"] = lambda _: None
    async with connection(fake) as ami:
        asked = asyncio.create_task(ami.ask(wire.hangup("PJSIP/a-1")))
        await fake.action("Hangup")
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        assert ami._protocol.responses == {}


async def test_a_loss_in_the_moment_of_a_cancellation_is_not_reported_as_unseen(fake: FakeAmi) -> None:
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    async with connection(fake) as ami:
        fake.answers["Getvar"] = lambda _: None
        asking = asyncio.create_task(ami.ask(wire.getvar("PJSIP/caller-1", "X")))
        await fake.action("Getvar")
        ami.lose("a test")
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        del asking
    gc.collect()
    assert reported == []


async def test_a_list_that_is_refused_ends_at_once(fake: FakeAmi) -> None:
    async with connection(fake) as ami:
        with pytest.raises(VerbRefused, match="Permission denied"):
            await ami.ask_all(wire.BRIDGE_LIST)


async def test_a_list_is_whole_and_events_between_its_rows_stay_events(fake: FakeAmi) -> None:
    def listed(action: object) -> list[str]:
        number = action.get("ActionID")  # type: ignore[attr-defined]  # a Block
        return [
            f"Response: Success\r\nActionID: {number}\r\nEventList: start\r\n\r\n",
            f"Event: Status\r\nActionID: {number}\r\nChannel: PJSIP/a-1\r\n\r\n",
            "Event: Hangup\r\nUniqueid: 1.1\r\n\r\n",
            f"Event: Status\r\nActionID: {number}\r\nChannel: PJSIP/b-1\r\n\r\n",
            f"Event: StatusComplete\r\nActionID: {number}\r\nEventList: Complete\r\n\r\n",
        ]

    fake.answers["Status"] = listed
    async with connection(fake) as ami:
        rows = await ami.ask_all(wire.status(("TK_UID",)))
        assert [row["channel"] for row in rows if row.event == "Status"] == ["PJSIP/a-1", "PJSIP/b-1"]
        assert (await anext(ami.events())).event == "Hangup"


async def test_a_burst_of_events_arrives_whole_and_in_order(fake: FakeAmi) -> None:
    count = 100_000
    async with connection(fake) as ami:
        fake.say("".join(f"Event: Hangup\r\nUniqueid: {n}\r\n\r\n" for n in range(count)))
        got = []
        async for message in ami.events():
            got.append(message["uniqueid"])
            if len(got) == count:
                break
        assert got == [str(n) for n in range(count)]
        assert (await ami.ask(wire.PING)).ok


async def test_events_that_nobody_takes_hold_the_sender_and_not_the_memory(
    fake: FakeAmi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "QUEUE_HIGH", 200)
    monkeypatch.setattr(inbox, "QUEUE_LOW", 50)
    monkeypatch.setattr(connected, "PING_EVERY_S", 0.02)
    monkeypatch.setattr(client, "PING_DEADLINE_S", 0.05)
    count, one_read = 40_000, 256 * 1024
    text = "Event: Hangup\r\nUniqueid: 1\r\nFill: " + "x" * 1000 + "\r\n\r\n"
    async with connection(fake) as ami:
        fake.say(text * count)
        await asyncio.sleep(0.3)
        assert 200 <= len(ami._events) <= 200 + one_read / len(text) + 1
        assert ami.why == ""  # that nothing is heard is our own doing
        taken = 0
        async for _ in ami.events():
            taken += 1
            if taken == count:
                break


async def test_events_nobody_reads_are_dropped_unparsed(fake: FakeAmi, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    parse = wire.parse

    def noted(block: str) -> Message:
        parsed.append(block)
        return parse(block)

    monkeypatch.setattr(wire, "parse", noted)
    async with connection(fake) as ami:
        parsed.clear()
        fake.say("Event: RTCPSent\r\nX: 1\r\n\r\n" * 1000 + "Event: Hangup\r\nUniqueid: 1\r\n\r\n")
        assert (await anext(ami.events())).event == "Hangup"
    assert len([block for block in parsed if "RTCPSent" in block]) == 0


async def test_the_tap_sees_each_event_before_it_is_queued(fake: FakeAmi) -> None:
    seen: list[Message] = []
    async with Connection("main", address(fake), seen.append) as ami:
        fake.say("Event: Hangup\r\nUniqueid: 1\r\n\r\n")
        assert await anext(ami.events()) is seen[0]


async def test_a_pbx_that_says_it_is_shutting_down_is_believed(fake: FakeAmi) -> None:
    async with connection(fake) as ami:
        fake.say("Event: Shutdown\r\nShutdown: Cleanly\r\n\r\n")
        assert [message async for message in ami.events()] == []
        assert ami.why == "Asterisk is shutting down"


async def test_a_pbx_that_reads_nothing_is_not_written_to_without_end(
    fake: FakeAmi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MAX_UNSENT", 0)
    async with connection(fake) as ami:
        transport = ami._protocol.transport
        assert transport is not None
        monkeypatch.setattr(type(transport), "get_write_buffer_size", lambda _: 1, raising=False)
        with pytest.raises(PbxUnavailable, match="does not read what we send"):
            await ami.ask(wire.PING)


async def test_an_answer_that_came_during_a_freeze_counts(fake: FakeAmi) -> None:
    async with connection(fake) as ami:
        asked = asyncio.create_task(ami.ask(wire.PING, 0.2))
        await fake.action("Ping")
        time.sleep(0.4)  # noqa: ASYNC251 - this process is frozen: answer and timeout are both due when it wakes
        assert (await asked).ok


# ---- TLS ----


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one PEM file."""
    import ipaddress

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pbx")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "pbx.pem"
    path.write_bytes(
        built.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


async def test_tls_is_spoken_and_the_certificate_is_checked(certificate: Path) -> None:
    fake = FakeAmi()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(fake._serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    trusted = Address("127.0.0.1", port, "takeover", "right", tls=True, tls_ca=str(certificate))
    async with Connection("main", trusted, lambda _: None) as ami:
        assert (await ami.ask(wire.PING)).ok
    unknown = Address("127.0.0.1", port, "takeover", "right", tls=True)
    with pytest.raises(PbxUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        async with Connection("main", unknown, lambda _: None):
            pass
    fake.cut()
    server.close()
