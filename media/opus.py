"""Opus at 16 kHz mono, straight on libopus: in-band FEC and loss concealment are wanted, and PyAV has neither.
Towards the browser also at 8 kHz.

The library is the one that PyAV ships in its wheel, or the system's. It is called through `ctypes.PyDLL`
(the interpreter lock stays held): a call takes 12 to 150 us and the worker has one thread.
"""

import ctypes
import ctypes.util
from functools import cache
from pathlib import Path

import av
import numpy as np

from .frame import RATE, SAMPLES, SILENCE, Frame

LONGEST = 6 * SAMPLES
"Samples in the longest packet that Opus allows (120 ms), RFC 6716 section 2.1.4."
_MAX_PACKET = 1275
_EMPTY = 10
"Bytes: no packet with any sound in it is so short."

# opus_defines.h
_APPLICATION_VOIP = 2048
_APPLICATION_RESTRICTED_LOWDELAY = 2051
_SET_BITRATE = 4002
_SET_INBAND_FEC = 4012
_SET_PACKET_LOSS_PERC = 4014
_SET_COMPLEXITY = 4010
_RESET_STATE = 4028


class OpusError(Exception):
    """libopus is missing or refused a call."""


@cache
def library() -> ctypes.PyDLL:
    """libopus, with the signatures that we use; raises OpusError when there is none."""
    bundled = sorted((Path(av.__file__).parent.parent / "av.libs").glob("libopus*.so*"))
    path = str(bundled[0]) if bundled else ctypes.util.find_library("opus")
    if path is None:
        raise OpusError("libopus not found: install PyAV from its wheel, or the system's libopus0")
    lib = ctypes.PyDLL(path)
    integer, pointer = ctypes.c_int, ctypes.c_void_p
    lib.opus_decoder_create.argtypes = [ctypes.c_int32, integer, ctypes.POINTER(integer)]
    lib.opus_decoder_create.restype = pointer
    lib.opus_decoder_destroy.argtypes = [pointer]
    lib.opus_decoder_destroy.restype = None
    lib.opus_decode.argtypes = [pointer, ctypes.c_char_p, ctypes.c_int32, pointer, integer, integer]
    lib.opus_encoder_create.argtypes = [ctypes.c_int32, integer, integer, ctypes.POINTER(integer)]
    lib.opus_encoder_create.restype = pointer
    lib.opus_encoder_destroy.argtypes = [pointer]
    lib.opus_encoder_destroy.restype = None
    lib.opus_encode.argtypes = [pointer, ctypes.c_char_p, integer, ctypes.c_char_p, ctypes.c_int32]
    # The two ctl functions are variadic, so they get no argtypes: the caller wraps every argument.
    return lib


def length(packet: bytes) -> int:
    """How long a packet plays, in samples of the 48 kHz RTP clock (RFC 6716 section 3.1); 0: unreadable."""
    if not packet:
        return 0
    configuration, code = packet[0] >> 3, packet[0] & 3
    if configuration < 12:
        frame = (480, 960, 1920, 2880)[configuration & 3]
    elif configuration < 16:
        frame = (480, 960)[configuration & 1]
    else:
        frame = 120 << (configuration & 3)
    if code < 3:
        return frame * (1 if code == 0 else 2)
    total = frame * (packet[1] & 63) if len(packet) > 1 else 0
    return total if total <= 5760 else 0


class Decoder:
    """One mono stream. A packet that libopus cannot read is concealed and counted, never raised."""

    def __init__(self) -> None:
        self._lib = library()
        error = ctypes.c_int()
        handle = self._lib.opus_decoder_create(RATE, 1, ctypes.byref(error))
        if not handle:
            raise OpusError(f"opus_decoder_create failed with {error.value}")
        self._handle = ctypes.c_void_p(handle)
        self._pcm = np.zeros(LONGEST, dtype=np.int16)
        self._address = ctypes.c_void_p(self._pcm.ctypes.data)
        self.unreadable = 0

    def __del__(self) -> None:
        if handle := getattr(self, "_handle", None):
            self._lib.opus_decoder_destroy(handle)

    length = staticmethod(length)

    def decode(self, packet: bytes) -> Frame:
        """A packet -> its samples (2.5 to 120 ms)."""
        count = self._lib.opus_decode(self._handle, packet, len(packet), self._address, LONGEST, 0)
        if count < 0 or not packet:
            self.unreadable += 1
            return self.conceal()
        return self._pcm[:count].copy()

    def recover(self, following: bytes, samples: int = SAMPLES) -> Frame:
        """The lost frame before `following`, from the copy that `following` carries (else concealed)."""
        count = self._lib.opus_decode(self._handle, following, len(following), self._address, samples, 1)
        return self._pcm[:count].copy() if count > 0 else self.conceal(samples)

    def conceal(self, samples: int = SAMPLES) -> Frame:
        """A guess at a lost frame; successive ones fade out."""
        count = self._lib.opus_decode(self._handle, None, 0, self._address, samples, 0)
        return self._pcm[:count].copy() if count > 0 else np.zeros(samples, dtype=np.int16)

    def reset(self) -> None:
        self._lib.opus_decoder_ctl(self._handle, ctypes.c_int(_RESET_STATE))


class Encoder:
    """Towards the browser. Two settings: low delay at 64 kbps, and with in-band FEC at 32 kbps for lossy lines.

    Measured (PESQ-WB of ten voices, 16 kHz mono; us per frame): low delay 4.29 and 25, FEC 4.09 and 39, both at
    complexity 0. At complexity 5 it is 4.28 and 41, 4.10 and 138: at these rates nobody hears what that buys.
    Sound of 8 kHz goes at 40 kbps: PESQ-NB 4.44 and 15 us, where 64 are 4.52 and 18 (the PBX's own G.711 is 3.9).
    """

    def __init__(self, *, complexity: int = 0) -> None:
        self._lib = library()
        self._complexity = complexity
        self._handles: dict[tuple[int, int], ctypes.c_void_p] = {}
        self._packet = ctypes.create_string_buffer(_MAX_PACKET)
        self._application = _APPLICATION_RESTRICTED_LOWDELAY
        self._samples = SAMPLES
        self._loss_percent = 0
        self._silence = b""

    def __del__(self) -> None:
        for handle in getattr(self, "_handles", {}).values():
            self._lib.opus_encoder_destroy(handle)

    def protect(self, loss: float) -> None:
        """Tell the share of packets (0..1) that the browser reports lost; above 2 % FEC goes on."""
        percent = round(loss * 100)
        # Off again only below 1 %: a line at the edge must not flap between two encoders.
        limit = 1 if self._application == _APPLICATION_VOIP else 2
        before = self._application
        self._application = _APPLICATION_VOIP if percent > limit else _APPLICATION_RESTRICTED_LOWDELAY
        if self._application != before:
            self._silence = b""
        if percent != self._loss_percent:
            self._loss_percent = percent
            for (application, _), handle in self._handles.items():
                if application == _APPLICATION_VOIP:
                    self._set(handle, _SET_PACKET_LOSS_PERC, self._expected_loss)

    def encode(self, frame: Frame) -> bytes:
        """20 ms (320 samples, or 160 of 8 kHz) -> one packet. `SILENCE` itself, as idle legs send it, is soon repeated,
        not encoded: a packet of a few bytes says that neither encoder nor decoder has anything left to forget."""
        if frame is not SILENCE:
            self._silence = b""
            if len(frame) != self._samples:
                self._samples = len(frame)
                # The decoder goes on from what it heard last, which is silence: so must the encoder that takes over.
                self._encode(bytes(2 * self._samples))
            return self._encode(frame.tobytes())
        if not 0 < len(self._silence) <= _EMPTY:
            self._silence = self._encode(bytes(2 * self._samples))
        return self._silence

    def _encode(self, pcm: bytes) -> bytes:
        handle = self._handles.get((self._application, self._samples)) or self._create()
        size = self._lib.opus_encode(handle, pcm, self._samples, self._packet, _MAX_PACKET)
        if size < 0:
            raise OpusError(f"opus_encode of {self._samples} samples failed with {size}")
        return ctypes.string_at(self._packet, size)

    @property
    def _expected_loss(self) -> int:
        return max(5, min(self._loss_percent, 30))

    def _create(self) -> ctypes.c_void_p:
        error = ctypes.c_int()
        handle = self._lib.opus_encoder_create(self._samples * 50, 1, self._application, ctypes.byref(error))
        if not handle:
            raise OpusError(f"opus_encoder_create failed with {error.value}")
        encoder = self._handles[self._application, self._samples] = ctypes.c_void_p(handle)
        self._set(encoder, _SET_COMPLEXITY, self._complexity)
        lossy = self._application == _APPLICATION_VOIP
        clean = 64_000 if self._samples == SAMPLES else 40_000
        self._set(encoder, _SET_BITRATE, 32_000 if lossy else clean)
        if lossy:
            self._set(encoder, _SET_INBAND_FEC, 1)
            self._set(encoder, _SET_PACKET_LOSS_PERC, self._expected_loss)
        return encoder

    def _set(self, handle: ctypes.c_void_p, request: int, value: int) -> None:
        result = self._lib.opus_encoder_ctl(handle, ctypes.c_int(request), ctypes.c_int32(value))
        if result != 0:
            raise OpusError(f"opus_encoder_ctl({request}, {value}) failed with {result}")
