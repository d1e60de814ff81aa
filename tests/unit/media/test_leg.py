"""One leg in virtual time: packets in by hand, ticks by hand, a patch whose socket only remembers."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import numpy as np
import pytest

from media import sdp
from media.audiosocket import Patch, Reader
from media.frame import SAMPLES, Frame
from media.leg import Leg, deliver
from media.opus import Encoder
from media.peer import Network
from media.rtc import FastPeer
from media.rtp import Rtp
from tests.support.browser_leg import power_at, tone
from tests.unit.media.test_sdp import CHROME


class Memory(asyncio.Transport):
    """A connection whose other end keeps what is written."""

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.far.setblocking(False)
        super().__init__({"socket": self.near})
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        raise AssertionError(f"{len(data)} bytes had to wait")

    def pause_reading(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def frames(self) -> list[Frame]:
        """Heard since it was last asked."""
        heard = bytearray()
        with contextlib.suppress(BlockingIOError):
            while data := self.far.recv(1 << 16):
                heard += data
        return [np.frombuffer(payload, "<i2").astype(np.int16) for _, payload in Reader().feed(bytes(heard))]


class Bench:
    """A leg with its clock."""

    def __init__(self) -> None:
        network = Network.local(1.0)
        self.leg = Leg("leg", sdp.parse(CHROME), network, FastPeer, suppression=False)
        self.now = 100.0
        self.tick = 0
        self.sequence = 0
        self._encoder = Encoder()
        self._memories: list[Memory] = []

    def close(self) -> None:
        for memory in self._memories:
            memory.near.close()
            memory.far.close()

    def run(self, ticks: int, hertz: float | None) -> None:
        """`hertz`: what the microphone sends; None: no packets."""
        for _ in range(ticks):
            self.sequence += 1
            if hertz is not None:
                payload = self._encoder.encode(tone(hertz)(self.sequence))
                packet = Rtp(111, self.sequence & 0xFFFF, self.sequence * 960, 1, payload)
                self.leg._packet(packet, self.now)
            self.now += 0.01
            deliver([self.leg], [self.leg.collect(self.now)], self.tick)
            self.now += 0.01
            self.tick += 1

    def fill(self, packets: int, hertz: float) -> None:
        """Packets that come and are not played: the buffer's whole content."""
        for _ in range(packets):
            self.sequence += 1
            payload = self._encoder.encode(tone(hertz)(self.sequence))
            self.leg._packet(Rtp(111, self.sequence & 0xFFFF, self.sequence * 960, 1, payload), self.now)

    def fall_behind(self, packets: int, hertz: float) -> None:
        """The same in their own time: the ticks were held up."""
        for _ in range(packets):
            self.fill(1, hertz)
            self.now += 0.02

    def attach(self) -> Memory:
        memory = Memory()
        self._memories.append(memory)
        self.leg.attach(Patch("patch", 16000, memory, lambda _data: None), lambda: None, self.now)
        return memory


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


async def test_what_the_agent_said_before_the_call_is_not_heard_in_it(bench: Bench) -> None:
    bench.run(100, 1500)
    bench.fall_behind(5, 1500)
    memory = bench.attach()
    bench.run(31, 2500)
    frames = memory.frames()
    assert len(frames) == 31
    assert sum(power_at(frame, 1500) > -30 for frame in frames) <= 2, "more than the present moment"
    assert all(power_at(frame, 1500) < -30 for frame in frames[3:])
    assert power_at(frames[-1], 2500) > -25


async def test_an_agent_who_speaks_already_is_heard_from_the_first_frame_on(bench: Bench) -> None:
    bench.run(100, 1500)
    memory = bench.attach()
    bench.run(10, 1500)
    assert all(power_at(frame, 1500) > -20 for frame in memory.frames())


async def test_the_last_words_of_one_call_are_not_the_first_of_the_next(bench: Bench) -> None:
    bench.run(100, 1500)
    bench.attach()
    bench.run(10, 1500)
    bench.leg.detach(bench.now)
    bench.run(2, 1500)
    bench.fill(3, 1500)
    memory = bench.attach()
    bench.run(30, 2500)
    assert all(power_at(frame, 1500) < -30 for frame in memory.frames())


async def test_half_a_frame_of_one_call_is_not_the_start_of_the_next(bench: Bench) -> None:
    bench.run(50, 1500)
    bench.attach()
    bench.leg._pending = tone(1500)(0)[: SAMPLES // 2]
    bench.leg.detach(bench.now)
    memory = bench.attach()
    bench.run(20, 2500)
    assert all(power_at(frame, 1500) < -30 for frame in memory.frames())


async def test_every_tick_sends_one_frame_whatever_the_microphone_does(bench: Bench) -> None:
    memory = bench.attach()
    bench.run(10, None)
    bench.run(50, 1500)
    bench.run(40, None)
    assert len(memory.frames()) == 100


async def test_after_half_a_second_without_microphone_there_is_comfort_noise(bench: Bench) -> None:
    bench.run(50, 1500)
    memory = bench.attach()
    bench.run(50, 1500)
    bench.run(60, None)
    frames = memory.frames()
    assert not frames[50 + 20].any()
    assert 0 < np.abs(frames[50 + 30]).max() < 300


async def test_what_the_pbx_got_is_counted_by_where_it_came_from(bench: Bench) -> None:
    bench.run(50, 1500)
    played = bench.leg.facts().played
    bench.attach()
    bench.run(50, 1500)
    bench.run(60, None)
    facts = bench.leg.facts()
    assert facts.played == played + 50
    # The end of a stream is invented, then there is nothing, and after half a second noise.
    assert facts.stretched + facts.concealed + facts.underruns + facts.noise == 60
    assert facts.noise == 60 - 23  # the tick of the last packet is the first of the 25
    assert facts.underruns > 5
    assert not facts.microphone


async def test_the_verdict_follows_the_silence(bench: Bench) -> None:
    bench.run(50, 1500)
    assert bench.leg.microphone
    assert bench.leg.verdict is None
    bench.run(13, None)
    bench.leg.signal = False
    assert bench.leg.microphone
    assert bench.leg.verdict is None
    bench.run(2, None)
    assert not bench.leg.microphone
    assert bench.leg.verdict == "signal-lost"
    bench.leg.signal = True
    assert bench.leg.verdict is None
    bench.run(90, None)
    assert bench.leg.verdict == "no-microphone"
    bench.run(1, 1500)
    assert bench.leg.verdict is None


async def test_a_process_that_was_held_up_does_not_take_it_for_a_silent_microphone(bench: Bench) -> None:
    bench.run(50, 1500)
    bench.now += 30.0
    bench.run(1, None)
    assert bench.leg.microphone
    assert bench.leg.verdict is None


async def test_a_new_stream_of_the_same_browser_goes_on_at_once(bench: Bench) -> None:
    memory = bench.attach()
    bench.run(50, 1500)
    for number in range(20):
        payload = Encoder().encode(tone(1500)(number))
        bench.leg._packet(Rtp(111, 9000 + number, 77_000_000 + number * 960, 2, payload), bench.now)
        bench.now += 0.01
        deliver([bench.leg], [bench.leg.collect(bench.now)], bench.tick)
        bench.now += 0.01
        bench.tick += 1
    assert sum(bool(frame.any()) for frame in memory.frames()[50:]) >= 16


async def test_a_turn_may_come_late_only_where_nobody_hears_it(bench: Bench) -> None:
    leg = bench.leg
    assert leg.may_wait(bench.now), "in no call"
    bench.attach()
    assert leg.patch is not None
    leg.patch.accepted = bench.now
    assert not leg.may_wait(bench.now), "its first frames decide how late all are"
    bench.run(60, None)
    assert leg.may_wait(bench.now)
    leg.hold = True
    assert not leg.may_wait(bench.now), "music"
    leg.hold = False
    leg.voice.heard(True)
    assert not leg.may_wait(bench.now), "the agent speaks"


async def test_a_turn_that_comes_late_leaves_no_hole_in_what_the_browser_hears(bench: Bench) -> None:
    bench.run(10, None)
    before = bench.leg._clock
    bench.leg.wait(bench.tick)
    bench.tick += 1
    bench.run(1, None)
    assert bench.leg._clock == before + 960
