"""The ESL connection against servers that hang, lie, break off and flood: no hang, no spin, no forged header."""

import asyncio
import resource
import time
from collections.abc import Awaitable, Callable

import pytest

from connector.adapter import connected
from connector.adapter.connected import LoginRefused
from connector.domain.errors import BadValue, PbxError, PbxTimeout, PbxUnavailable
from connector.freeswitch import client
from connector.freeswitch.client import Address, Connection
from connector.freeswitch.wire import Message
from tests.support.esl_server import (
    ACCEPTED,
    CHALLENGE,
    EslServer,
    Session,
    event,
    framed,
    reply,
    response,
    serving,
)


def connection(server: EslServer, tap: Callable[[Message], None] = lambda _: None) -> Connection:
    return Connection("main", Address("127.0.0.1", server.port, "secret"), tap)


async def obedient(session: Session) -> None:
    """Logs in, and answers every command until the client goes."""
    await session.login()
    while command := await session.command():
        session.write(reply() if not command.startswith("api ") else response(command.removeprefix("api ")))


async def read(link: Connection, count: int) -> list[Message]:
    async with asyncio.timeout(20):
        return [message async for _, message in _numbered(link, count)]


async def _numbered(link: Connection, count: int):  # type: ignore[no-untyped-def]
    number = 0
    async for message in link.events():
        number += 1
        yield number, message
        if number == count:
            return


async def ends(link: Connection) -> str:
    """Why it ended; it must, and soon."""
    async with asyncio.timeout(10):
        async for _ in link.events():
            pass
    return link.why


async def test_commands_are_answered_in_order() -> None:
    async with serving(obedient) as server, connection(server) as link:
        assert await link.api("one", "two", "three") == ["one", "two", "three"]
        answers = await asyncio.gather(*(link.api(f"number {n}") for n in range(200)))
        assert answers == [[f"number {n}"] for n in range(200)]


async def test_a_command_with_a_line_break_never_leaves() -> None:
    async with serving(obedient) as server, connection(server) as link:
        for hostile in ("status\n\napi shutdown", "status\rx", "x" * 5000):
            with pytest.raises(BadValue):
                await link.api("fine", hostile)
        assert await link.api("after") == ["after"]


async def test_silence_before_the_login_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CONNECT_S", 0.3)

    async def silent(session: Session) -> None:
        await session.command()

    async with serving(silent) as server:
        with pytest.raises(PbxUnavailable, match="did not ask for a login"):
            await connection(server).__aenter__()


async def test_silence_after_the_password_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_S", 0.3)
    monkeypatch.setattr(Connection.send, "__defaults__", (0.3,))

    async def silent(session: Session) -> None:
        session.write(CHALLENGE)
        await session.command()
        await session.command()

    async with serving(silent) as server:
        with pytest.raises(PbxTimeout) as told:
            await connection(server).__aenter__()
        assert "secret" not in str(told.value)


async def test_nobody_there() -> None:
    async with serving(obedient) as server:
        pass
    with pytest.raises(PbxUnavailable, match="cannot connect"):
        await connection(server).__aenter__()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ((CHALLENGE, reply("-ERR invalid")), "authentication refused"),
        ((b"Content-Type: text/rude-rejection\nContent-Length: 24\n\nAccess Denied, go away.\n",), "ACL"),
    ],
)
async def test_a_refused_login_is_told(said: tuple[bytes, ...], why: str) -> None:
    async def refusing(session: Session) -> None:
        for one in said:
            session.write(one)
            await session.command()

    async with serving(refusing) as server:
        with pytest.raises(LoginRefused, match=why):
            await connection(server).__aenter__()


async def test_a_server_that_closes_at_once() -> None:
    async with serving(lambda _: None) as server:
        with pytest.raises(PbxUnavailable):
            await connection(server).__aenter__()


async def _broken_off(data: bytes) -> str:
    async def talk(session: Session) -> None:
        await session.login()
        session.write(data)
        await session.writer.drain()

    async with serving(talk) as server, connection(server) as link:
        before = time.process_time()
        why = await ends(link)
        assert time.process_time() - before < 5  # the original spins here for ever
        with pytest.raises(PbxUnavailable):
            await link.api("status")
        return why


async def test_the_end_in_the_middle_of_a_body() -> None:
    assert "closed" in await _broken_off(b"Content-Length: 5000\nContent-Type: text/event-plain\n\nEvent-Name: CHAN")


async def test_the_end_in_the_middle_of_a_header() -> None:
    assert "closed" in await _broken_off(b"Content-Length: 5")


@pytest.mark.parametrize("length", ["-1", "x", "1e9", "99999999999999", "٣"])
async def test_a_length_that_is_none_ends_it(length: str) -> None:
    why = await _broken_off(f"Content-Length: {length}\nContent-Type: text/event-plain\n\n".encode())
    assert "does not speak ESL" in why


async def test_a_header_without_end_ends_it() -> None:
    assert "does not speak ESL" in await _broken_off(b"A: " + b"x" * 600_000)


async def test_a_disconnect_notice_ends_it_and_fails_what_is_under_way() -> None:
    async def talk(session: Session) -> None:
        await session.login()
        await session.command()
        session.write(framed(b"Disconnected, goodbye.\n", "text/disconnect-notice"))
        await session.command()

    async with serving(talk) as server, connection(server) as link:
        with pytest.raises(PbxUnavailable):
            await link.api("never answered")


async def _then_lives(data: bytes, expected: int) -> list[Message]:
    """What an obedient client understands of `data`; afterwards the connection must still work."""

    async def talk(session: Session) -> None:
        await session.login()
        session.write(data)
        while command := await session.command():
            session.write(response(command.removeprefix("api ")))

    async with serving(talk) as server, connection(server) as link:
        messages = await read(link, expected) if expected else []
        assert await link.api("alive") == ["alive"]
        return messages


async def test_an_encoded_line_break_forges_no_header() -> None:
    data = event("DTMF", **{"Caller-Caller-ID-Name": "x\nUnique-ID: forged\nEvent-Name: CUSTOM", "Unique-ID": "true"})
    [message] = await _then_lives(data, 1)
    assert (message.event, message["unique-id"]) == ("DTMF", "true")
    assert message["caller-caller-id-name"].startswith("x\nUnique-ID: forged")


async def test_of_a_repeated_header_the_first_counts_but_two_channels_are_none() -> None:
    data = framed(b"Event-Name: DTMF\nUnique-ID: true\nDTMF-Digit: 1\ndtmf-digit: 2\nEvent-Name: X\n\n")
    forged = framed(b"Event-Name: DTMF\nUnique-ID: forged\nUnique-ID: true\nUnique-ID: forged\n\n")
    first, second = await _then_lives(data + forged, 2)
    assert (first.event, first["unique-id"], first["dtmf-digit"]) == ("DTMF", "true", "1")
    assert second["unique-id"] == ""


async def test_an_events_own_body_does_not_reach_its_headers() -> None:
    [message] = await _then_lives(event("DTMF", body="Unique-ID: forged\n\nEvent-Name: X", **{"Unique-ID": "true"}), 1)
    assert (message["unique-id"], message.body) == ("true", "Unique-ID: forged\n\nEvent-Name: X")


async def test_invalid_utf8_json_and_headerless_bodies_harm_nothing() -> None:
    data = (
        framed(b"Event-Name: DTMF\nUnique-ID: a\nCaller-Name: \xff\xfe%ff\n\n")
        + framed(b'{"Event-Name": "DTMF", "Unique-ID": "forged"}', "text/event-json")
        + framed(b"no header at all")
        + framed(b"")
        + framed(b"\xff\xfe\x00\xff", "log/data")
        + b"\n\n\n\n"
        + framed(b"Event-Name: DTMF\nUnique-ID: b\n\n")
    )
    assert [message["unique-id"] for message in await _then_lives(data, 2)] == ["a", "b"]


async def test_a_late_answer_is_not_taken_for_the_next_one() -> None:
    async def slow(session: Session) -> None:
        await session.login()
        first = await session.command()
        await asyncio.sleep(0.3)
        session.write(response(first.removeprefix("api ")))
        while command := await session.command():
            session.write(response(command.removeprefix("api ")))

    async with serving(slow) as server, connection(server) as link:
        with pytest.raises(PbxTimeout):
            await link.api("late", seconds=0.05)
        assert await link.api("next") == ["next"]


async def test_a_job_is_told_by_its_own_event_only() -> None:
    async def talk(session: Session) -> None:
        await session.login()
        command = await session.command()
        number = command.partition("Job-UUID: ")[2]
        session.write(reply(f"+OK Job-UUID: {number}"))
        session.write(event("BACKGROUND_JOB", body="+OK forged\n", **{"Job-UUID": "another"}))
        session.write(event("BACKGROUND_JOB", body="-ERR USER_BUSY\n", **{"Job-UUID": number}))
        await session.command()

    async with serving(talk) as server, connection(server) as link:
        assert await link.job("originate x", 5) == "-ERR USER_BUSY"


async def test_a_half_open_link_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connected, "PING_EVERY_S", 0.05)
    monkeypatch.setattr(client, "PING_DEADLINE_S", 0.3)

    async def frozen(session: Session) -> None:
        await session.login()
        await asyncio.sleep(60)

    async with serving(frozen) as server, connection(server) as link:
        assert "ping" in await ends(link)


async def test_a_hundred_thousand_events_in_a_burst() -> None:
    """All come, in order, while commands are answered and the loop stays free for the panel."""
    count = 100_000
    batch = 1_000

    async def flood(session: Session) -> None:
        await session.login()
        for start in range(0, count, batch):
            session.write(b"".join(event("DTMF", **{"Unique-ID": str(n)}) for n in range(start, start + batch)))
            await session.writer.drain()
        while command := await session.command():
            session.write(response(command.removeprefix("api ")))

    async with serving(flood) as server, connection(server) as link:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        expected = 0
        async with asyncio.timeout(90):
            async for message in link.events():
                assert message["unique-id"] == str(expected)
                expected += 1
                if expected == count:
                    break
        assert await link.api("alive") == ["alive"]
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 300_000  # KiB: the queue is bounded


async def test_many_connections_leave_no_thread_behind() -> None:
    import threading

    async def once(server: EslServer) -> None:
        async with connection(server) as link:
            await link.api("x")

    async with serving(obedient) as server:
        before = threading.active_count()
        for _ in range(10):
            await once(server)
        async with asyncio.timeout(5):
            while threading.active_count() > before:  # noqa: ASYNC110 - a thread's end is told to nobody
                await asyncio.sleep(0.01)


Verb = Callable[[Connection], Awaitable[object]]


async def test_a_lost_connection_fails_everything_at_once() -> None:
    async def talk(session: Session) -> None:
        await session.login()
        for _ in range(3):
            await session.command()

    async with serving(talk) as server, connection(server) as link:
        verbs: list[Verb] = [lambda c: c.api("a"), lambda c: c.api("b"), lambda c: c.job("originate x", 30)]
        answers = await asyncio.gather(*(verb(link) for verb in verbs), return_exceptions=True)
        assert all(isinstance(answer, PbxError) for answer in answers)


async def test_the_password_may_hold_anything_but_a_line_break() -> None:
    seen: list[str] = []

    async def talk(session: Session) -> None:
        session.write(CHALLENGE)
        seen.append(await session.command())
        session.write(ACCEPTED)
        await session.command()
        session.write(reply())
        await session.command()

    async with serving(talk) as server:
        address = Address("127.0.0.1", server.port, "p ä:%0A$")
        async with Connection("main", address, lambda _: None):
            assert seen == ["auth p ä:%0A$"]
        with pytest.raises(BadValue):
            await Connection(
                "main", Address("127.0.0.1", server.port, "a\n\napi shutdown"), lambda _: None
            ).__aenter__()
