"""The PBX's side of a worker: framing, who is let in, and the buffer behind it."""

import asyncio
import contextlib
import socket
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import numpy as np
import pytest

from media import audiosocket
from media.audiosocket import AUDIO, DTMF, HANGUP, UUID, Malformed, Patch, Playout, Reader, Server, encode
from media.frame import SAMPLES, SILENCE


@dataclass
class Heard:
    """A listener that keeps what it is told."""

    opened: list[Patch] = field(default_factory=list)
    closed: list[tuple[str, str]] = field(default_factory=list)
    expired: list[str] = field(default_factory=list)
    intruders: list[tuple[str, str]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def patch_opened(self, patch: Patch) -> None:
        self.opened.append(patch)
        self.news.set()

    def patch_closed(self, patch: Patch, why: str) -> None:
        self.closed.append((patch.id, why))
        self.news.set()

    def patch_expired(self, patch: str) -> None:
        self.expired.append(patch)
        self.news.set()

    def intruder(self, peer: str, shown: str, why: str) -> None:
        self.intruders.append((shown, why))
        self.news.set()

    async def next(self) -> None:
        async with asyncio.timeout(10):
            await self.news.wait()
        self.news.clear()


@pytest.fixture
async def heard() -> Heard:
    return Heard()


@pytest.fixture
async def server(heard: Heard) -> AsyncIterator[Server]:
    server = Server(heard, frozenset())
    await server.start("127.0.0.1")
    yield server
    await server.stop()


async def call(server: Server, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(data)
    return reader, writer


async def is_closed(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(10):
            return await reader.read(1) == b""
    except ConnectionError:
        return True


def test_frames_come_out_whole_however_the_bytes_are_cut() -> None:
    frames = [(UUID, bytes(16)), (AUDIO[8000], bytes(320)), (DTMF, b"5"), (HANGUP, b"")]
    wire = b"".join(encode(*frame) for frame in frames)
    for size in (1, 2, 3, 7, 100, len(wire)):
        reader = Reader()
        out: list[tuple[int, bytes]] = []
        for start in range(0, len(wire), size):
            out += reader.feed(wire[start : start + size])
        assert out == frames


@pytest.mark.parametrize(
    "header",
    [
        b"\x01\x00\x0f",
        b"\x01\x00\x11",
        b"\x10\xff\xfe",
        b"\x10\x00\x03",
        b"\x42\x00\x00",
        b"\x00\x00\x01",
        b"\x18\x00\x02",
    ],
)
def test_a_bad_header_is_refused_before_its_bytes_are_awaited(header: bytes) -> None:
    with pytest.raises(Malformed):
        list(Reader().feed(header))


async def test_an_expected_uuid_becomes_a_patch(server: Server, heard: Heard) -> None:
    expected = str(uuid.uuid4())
    server.expect(expected, 8000)
    reader, writer = await call(server, encode(UUID, uuid.UUID(expected).bytes))
    await heard.next()
    patch = heard.opened[0]
    assert patch.id == expected
    assert patch.halver is not None
    patch.send(patch.halver(np.zeros(SAMPLES, np.int16)))
    assert await reader.readexactly(323) == encode(0x10, bytes(320))
    writer.close()
    await heard.next()
    assert heard.closed == [(expected, "pbx-closed")]
    assert not heard.intruders


async def test_sixteen_kilohertz_goes_through_unchanged(server: Server, heard: Heard) -> None:
    expected = str(uuid.uuid4())
    server.expect(expected, 16000)
    sound = np.arange(SAMPLES, dtype="<i2") * 50
    reader, writer = await call(server, encode(UUID, uuid.UUID(expected).bytes) + encode(0x12, sound.tobytes()) * 2)
    await heard.next()
    patch = heard.opened[0]
    patch.send(sound.astype(np.int16))
    assert await reader.readexactly(643) == encode(0x12, sound.tobytes())
    played = [patch.receive() for _ in range(3)]
    assert any(np.array_equal(frame, sound) for frame in played)
    writer.close()


async def test_an_unknown_uuid_is_an_intruder(server: Server, heard: Heard) -> None:
    stranger = uuid.uuid4()
    reader, writer = await call(server, encode(UUID, stranger.bytes))
    await heard.next()
    assert heard.intruders == [(str(stranger), "uuid not expected")]
    assert await is_closed(reader)
    writer.close()


async def test_a_uuid_is_good_once(server: Server, heard: Heard) -> None:
    expected = uuid.uuid4()
    server.expect(str(expected), 8000)
    _, first = await call(server, encode(UUID, expected.bytes))
    await heard.next()
    reader, second = await call(server, encode(UUID, expected.bytes))
    await heard.next()
    assert len(heard.opened) == 1
    assert heard.intruders == [(str(expected), "uuid used before or too late")]
    assert await is_closed(reader)
    assert not heard.closed
    first.close()
    second.close()


async def test_a_late_call_is_refused(server: Server, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audiosocket, "EXPECT", 0.05)
    expected = uuid.uuid4()
    server.expect(str(expected), 8000)
    await heard.next()
    assert heard.expired == [str(expected)]
    _, writer = await call(server, encode(UUID, expected.bytes))
    await heard.next()
    assert heard.intruders == [(str(expected), "uuid used before or too late")]
    writer.close()


async def test_a_forgotten_uuid_is_refused_and_does_not_expire(server: Server, heard: Heard) -> None:
    expected = uuid.uuid4()
    server.expect(str(expected), 8000)
    server.forget(str(expected))
    _, writer = await call(server, encode(UUID, expected.bytes))
    await heard.next()
    assert len(heard.intruders) == 1
    assert not heard.expired
    writer.close()


async def test_a_connection_that_says_nothing_is_closed(
    server: Server, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audiosocket, "INTRODUCE", 0.05)
    reader, writer = await call(server, b"")
    assert await is_closed(reader)
    assert heard.intruders == [("", "no uuid within 0.05 s")]
    writer.close()


async def test_sound_before_the_uuid_is_refused(server: Server, heard: Heard) -> None:
    reader, writer = await call(server, encode(0x10, bytes(320)))
    assert await is_closed(reader)
    assert heard.intruders == [("", "first frame is of type 0x10, not the uuid")]
    writer.close()


@pytest.mark.parametrize("wire", [encode(0x12, bytes(640)), b"\x99\x00\x00", encode(UUID, bytes(16))[:1] + b"\xff\xff"])
async def test_a_patch_that_turns_to_nonsense_is_closed(server: Server, heard: Heard, wire: bytes) -> None:
    expected = uuid.uuid4()
    server.expect(str(expected), 8000)
    reader, writer = await call(server, encode(UUID, expected.bytes) + wire)
    assert await is_closed(reader)
    while not heard.closed:
        await heard.next()
    assert heard.closed[0][1].startswith("protocol: ")
    writer.close()


async def test_hangup_from_the_pbx_has_its_own_reason(server: Server, heard: Heard) -> None:
    expected = uuid.uuid4()
    server.expect(str(expected), 8000)
    _, writer = await call(server, encode(UUID, expected.bytes) + encode(DTMF, b"1") + encode(HANGUP))
    while not heard.closed:
        await heard.next()
    assert heard.closed == [(str(expected), "pbx-hangup")]
    writer.close()


def test_only_loopback_and_named_addresses_may_call() -> None:
    server = Server(Heard(), frozenset({"203.0.113.7", "192.0.2.0/28"}))
    assert server.permits("127.0.0.1")
    assert server.permits("::1")
    assert server.permits("203.0.113.7")
    assert server.permits("::ffff:203.0.113.7")
    assert server.permits("192.0.2.9")
    assert not server.permits("192.0.2.16")
    assert not server.permits("203.0.113.8")
    assert not server.permits("::ffff:198.51.100.1")


async def test_strangers_are_few(server: Server, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audiosocket, "MAX_STRANGERS", 3)
    calls = [await call(server, b"") for _ in range(4)]
    await heard.next()
    assert heard.intruders == [("", "too many connections without a uuid")]
    for _, writer in calls:
        writer.close()


async def test_a_pbx_that_does_not_read_gets_no_backlog(server: Server, heard: Heard) -> None:
    expected = uuid.uuid4()
    server.expect(str(expected), 8000)
    _, writer = await call(server, encode(UUID, expected.bytes))
    await heard.next()
    patch = heard.opened[0]
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(60_000):
        patch.send(np.zeros(SAMPLES, np.int16))
    assert patch.counts.unsent > 0
    assert patch._transport.get_write_buffer_size() < 2000
    writer.close()


async def test_a_pbx_that_reads_again_gets_whole_frames(server: Server, heard: Heard) -> None:
    expected = uuid.uuid4()
    server.expect(str(expected), 8000)
    reader, writer = await call(server, encode(UUID, expected.bytes))
    await heard.next()
    patch = heard.opened[0]
    frames = Reader()
    while not patch.counts.unsent:  # until the kernel takes no more, in the midst of a frame
        patch.send(np.full(160, patch.counts.sent % 30_000, np.int16))
    count = 0
    while count < patch.counts.sent:
        for kind, payload in frames.feed(await reader.read(1 << 16)):
            assert (kind, set(np.frombuffer(payload, "<i2").tolist())) == (0x10, {count % 30_000})
            count += 1
    patch.send(np.full(160, 7, np.int16))
    assert (await reader.readexactly(323))[3:5] == b"\x07\x00"
    writer.close()


def test_sound_leaves_at_once_not_at_the_end_of_the_turn() -> None:
    async def listen() -> None:
        heard, expected = Heard(), uuid.uuid4()
        server = Server(heard, frozenset())
        await server.start("127.0.0.1")
        server.expect(str(expected), 8000)
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as pbx:
            pbx.sendall(encode(UUID, expected.bytes))
            await heard.next()
            heard.opened[0].send(np.zeros(160, np.int16))
            assert len(pbx.recv(4096)) == 323  # the loop has not turned since
        await server.stop()

    # asyncio's own loop sends at once anyway, uvloop does not.
    pytest.importorskip("uvloop").run(listen())


async def test_a_patch_whose_call_is_gone_takes_what_it_is_given(server: Server, heard: Heard) -> None:
    expected = uuid.uuid4()
    server.expect(str(expected), 8000)
    _, writer = await call(server, encode(UUID, expected.bytes))
    await heard.next()
    patch = heard.opened[0]
    patch.close()
    patch.send(np.zeros(160, np.int16))
    await heard.next()
    assert [why for _, why in heard.closed] == ["pbx-closed"]
    writer.close()


async def test_from_the_first_tick_on_a_patch_is_read_in_its_ticks_and_nowhere_else(
    server: Server, heard: Heard
) -> None:
    reader, writer = await opened(server, heard)
    patch = heard.opened[0]
    patch.receive()
    for _ in range(3):
        writer.write(encode(AUDIO[8000], loud(1)[: SAMPLES // 2].tobytes()))
    writer.write(encode(HANGUP))
    writer.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            await heard.news.wait()
    assert patch.counts.received == 0
    assert not heard.closed
    patch.receive()
    assert patch.counts.received == 3
    await heard.next()
    assert heard.closed == [(patch.id, "pbx-hangup")]
    assert await is_closed(reader)


async def test_a_tick_sees_that_the_pbx_has_closed(server: Server, heard: Heard) -> None:
    _, writer = await opened(server, heard)
    patch = heard.opened[0]
    patch.receive()
    writer.close()
    await writer.wait_closed()
    async with asyncio.timeout(10):
        while not heard.closed:
            patch.receive()
            await asyncio.sleep(0.01)
    assert heard.closed == [(patch.id, "pbx-closed")]
    patch.receive()


async def opened(server: Server, heard: Heard) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The PBX's end of a patch at 8 kHz."""
    patch = uuid.uuid4()
    server.expect(str(patch), 8000)
    reader, writer = await call(server, encode(UUID, patch.bytes))
    await heard.next()
    return reader, writer


def loud(number: int) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    return np.full(SAMPLES, 1000 + number, np.int16)


def test_playout_keeps_order_and_never_plays_twice() -> None:
    playout = Playout()
    out = []
    for number in range(20):
        playout.push(loud(number))
        out.append(int(playout.pop()[0]))
    spoken = [value for value in out if value >= 1000]
    assert spoken == sorted(set(spoken))
    assert len(spoken) >= 18


def test_playout_bounds_what_waits() -> None:
    playout = Playout()
    playout.push(np.concatenate([loud(n) for n in range(50)]))
    waiting = sum(int(playout.pop()[0]) >= 1000 for _ in range(50))
    assert waiting <= 6
    assert playout.dropped >= 44


def test_playout_drops_silence_first() -> None:
    playout = Playout()
    silence = np.zeros(SAMPLES, np.int16)
    playout.push(np.concatenate([loud(0), silence, loud(1), silence, loud(2)]))
    out = [int(playout.pop()[0]) for _ in range(5)]
    assert [value for value in out if value >= 1000] == [1000, 1001, 1002]


def test_the_end_of_the_sound_fades_into_silence() -> None:
    playout = Playout()
    playout.push(np.concatenate([loud(0), loud(0)]))
    playout.pop()
    playout.pop()
    fading = playout.pop()
    assert abs(int(fading[0])) > 400
    assert abs(int(fading[-1])) < 10
    assert not playout.pop().any()


def test_odd_pieces_are_joined_without_a_seam() -> None:
    playout = Playout()
    ramp = np.arange(3 * SAMPLES, dtype=np.int16)
    for start in range(0, len(ramp), 100):
        playout.push(ramp[start : start + 100])
    assert np.array_equal(np.concatenate([playout.pop() for _ in range(3)]), ramp)


def test_sound_of_8_khz_leaves_in_pieces_of_20_ms_as_it_came() -> None:
    playout = Playout(SAMPLES // 2)
    ramp = np.arange(3 * SAMPLES // 2, dtype=np.int16)
    for start in range(0, len(ramp), SAMPLES // 2):
        playout.push(ramp[start : start + SAMPLES // 2])
    assert np.array_equal(np.concatenate([playout.pop() for _ in range(3)]), ramp)
    assert playout.pop().shape == (SAMPLES // 2,)
    assert playout.pop() is SILENCE
