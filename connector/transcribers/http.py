"""A service that speaks OpenAI's audio API (``POST {url}/audio/transcriptions``): theirs, or one of your own such as
whisper.cpp, faster-whisper or vLLM behind the same address."""

import io
import wave
from types import TracebackType
from typing import Self

import aiohttp

from ..ports import TranscriptionFailed

TIMEOUT = aiohttp.ClientTimeout(total=20, connect=5)


class HttpTranscriber:
    """An async context manager. `url` is the base address, like ``https://api.openai.com/v1``."""

    def __init__(self, url: str, *, key: str = "", model: str = "whisper-1", language: str = "") -> None:
        self._url = f"{url.rstrip('/')}/audio/transcriptions"
        self._key = key
        self._fields = {"model": model, "response_format": "json"} | ({"language": language} if language else {})

    async def __aenter__(self) -> Self:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._session = aiohttp.ClientSession(headers=headers, timeout=TIMEOUT, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def transcribe(self, sound: bytes, rate: int) -> str:
        """See `ports.Transcriber`."""
        form = aiohttp.FormData(self._fields)
        form.add_field("file", _wav(sound, rate), filename="utterance.wav", content_type="audio/wav")
        try:
            async with self._session.post(self._url, data=form, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise TranscriptionFailed(f"the service answered {answer.status}")
                body = await answer.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise TranscriptionFailed(type(error).__name__) from error
        if not isinstance(body, dict) or not isinstance(body.get("text"), str):
            raise TranscriptionFailed("the answer has no text")
        return str(body["text"]).strip()


def _wav(sound: bytes, rate: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(rate)
        writer.writeframes(sound)
    return file.getvalue()
