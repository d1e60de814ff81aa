"""Any bytes at the PBX's port: no crash, no memory, nobody let in."""

import asyncio
import contextlib
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from media.audiosocket import AUDIO, DTMF, HANGUP, MAX_AUDIO, UUID, Malformed, Patch, Reader, Server, encode

_good = st.one_of(
    st.builds(encode, st.just(UUID), st.binary(min_size=16, max_size=16)),
    st.builds(encode, st.sampled_from(list(AUDIO.values())), st.integers(0, 960).map(lambda n: bytes(2 * n))),
    st.builds(encode, st.just(DTMF), st.binary(min_size=1, max_size=1)),
    st.just(encode(HANGUP)),
)
_bad = st.one_of(
    st.binary(max_size=40),
    st.builds(encode, st.integers(0, 255), st.binary(max_size=64)),
    st.builds(
        lambda kind, length: bytes([kind]) + length.to_bytes(2, "big"), st.integers(0, 255), st.integers(0, 65535)
    ),
)


def read(pieces: list[bytes]) -> tuple[list[tuple[int, bytes]], bool]:
    reader, frames = Reader(), []
    try:
        for piece in pieces:
            for frame in reader.feed(piece):
                frames.append(frame)  # noqa: PERF402  what came before the fault must be kept
            assert len(reader._rest) <= MAX_AUDIO + 3
    except Malformed:
        return frames, False
    return frames, True


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_any_bytes_are_frames_or_malformed(pieces: list[bytes]) -> None:
    read(pieces)


@given(st.lists(_good, max_size=8), st.data())
def test_the_cut_of_the_bytes_changes_nothing(frames: list[bytes], data: st.DataObject) -> None:
    wire = b"".join(frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    pieces = [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert read(pieces) == read([wire])
    out, fine = read(pieces)
    assert fine
    assert b"".join(encode(*frame) for frame in out) == wire


@given(st.lists(_good, max_size=4), _bad)
def test_frames_before_a_fault_still_count(frames: list[bytes], end: bytes) -> None:
    out, _ = read([b"".join(frames) + end])
    assert b"".join(encode(*frame) for frame in out[: len(frames)]) == b"".join(frames)


class Nobody:
    """A listener that counts who was let in."""

    def __init__(self) -> None:
        self.opened = 0
        self.ended = asyncio.Semaphore(0)

    def patch_opened(self, patch: Patch) -> None:
        self.opened += 1

    def patch_closed(self, patch: Patch, why: str) -> None:
        self.ended.release()

    def patch_expired(self, patch: str) -> None: ...

    def intruder(self, peer: str, shown: str, why: str) -> None:
        self.ended.release()


async def _assault(wires: list[bytes]) -> None:
    nobody = Nobody()
    server = Server(nobody, frozenset())
    await server.start("127.0.0.1")
    mine = uuid.uuid4()
    server.expect(str(mine), 8000)
    try:
        for wire in wires:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(wire)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            writer.close()
        async with asyncio.timeout(10):
            for _ in wires:
                await nobody.ended.acquire()
        assert nobody.opened == 0
        assert server.admit(str(mine)) == 8000  # the expected call could still have come
    finally:
        await server.stop()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.one_of(_good, _bad), min_size=1, max_size=5))
def test_nobody_gets_in_without_the_uuid(wires: list[bytes]) -> None:
    asyncio.run(_assault(wires))


@pytest.mark.parametrize("size", [0, 1, 15])
def test_a_truncated_uuid_waits_and_lets_nobody_in(size: int) -> None:
    frames, fine = read([encode(UUID, bytes(16))[: 3 + size]])
    assert fine
    assert frames == []
