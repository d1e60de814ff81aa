"""CMU PocketSphinx with the English model of its package: needs no network, and understands accordingly.

In a process of its own with the lowest precedence: a second of speech takes about a second of a core.
"""

import asyncio
import functools
import importlib.util
import multiprocessing
import os
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from types import TracebackType
from typing import Any, Self

from ..ports import TranscriptionFailed

TIMEOUT_S = 60.0


def available() -> bool:
    """Whether the package is installed (the extra ``captions``)."""
    return importlib.util.find_spec("pocketsphinx") is not None


class LocalTranscriber:
    """An async context manager; the process starts with the first utterance."""

    async def __aenter__(self) -> Self:
        self._process = self._started()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.shutdown(wait=False, cancel_futures=True)

    @staticmethod
    def _started() -> ProcessPoolExecutor:
        # Spawned, not forked: a fork would take the service's sockets and locks along.
        return ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), initializer=_step_back)

    async def transcribe(self, sound: bytes, rate: int) -> str:
        """See `ports.Transcriber`."""
        work = asyncio.get_running_loop().run_in_executor(self._process, _recognise, sound, rate)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await work
        except BrokenExecutor as error:
            self._process = self._started()
            raise TranscriptionFailed("its process ended") from error
        except (RuntimeError, ValueError, TimeoutError) as error:
            raise TranscriptionFailed(str(error) or "it took too long") from error


def _step_back() -> None:
    os.nice(19)


@functools.cache
def _decoder(rate: int) -> Any:
    from pocketsphinx import Decoder  # here: only this process needs it

    return Decoder(samprate=rate, loglevel="FATAL")


def _recognise(sound: bytes, rate: int) -> str:
    decoder = _decoder(rate)
    decoder.start_utt()
    decoder.process_raw(sound, full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return str(found.hypstr) if found is not None else ""
