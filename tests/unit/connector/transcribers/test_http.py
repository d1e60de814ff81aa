"""The HTTP backend against a service that speaks the same API."""

import io
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from connector.ports import TranscriptionFailed
from connector.transcribers.http import HttpTranscriber

SOUND = bytes(range(200)) * 16


@asynccontextmanager
async def service(answer: web.Response) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    asked: list[dict[str, Any]] = []

    async def handle(request: web.Request) -> web.Response:
        form: Any = await request.post()
        fields = {name: value.file.read() if hasattr(value, "file") else value for name, value in form.items()}
        asked.append({**fields, "authorization": request.headers.get("Authorization", "")})
        return answer

    app = web.Application()
    app.router.add_post("/v1/audio/transcriptions", handle)
    async with TestServer(app) as server:
        yield str(server.make_url("/v1")), asked


async def test_an_utterance_is_sent_as_a_wav_with_model_and_key() -> None:
    async with service(web.json_response({"text": " Hello there. "})) as (url, asked):
        async with HttpTranscriber(url, key="k3y", model="tiny", language="en") as transcriber:
            assert await transcriber.transcribe(SOUND, 16_000) == "Hello there."
        (one,) = asked
        assert (one["model"], one["language"], one["authorization"]) == ("tiny", "en", "Bearer k3y")
        with wave.open(io.BytesIO(one["file"])) as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
            assert file.readframes(10_000) == SOUND


@pytest.mark.parametrize(
    "answer",
    [
        web.json_response({"error": "busy"}, status=503),
        web.json_response({"words": []}),
        web.Response(text="<html>"),
        web.Response(status=307, headers={"Location": "https://elsewhere.example/"}),
    ],
    ids=["busy", "no text", "no json", "redirect"],
)
async def test_what_is_no_answer_is_a_failure(answer: web.Response) -> None:
    async with service(answer) as (url, _), HttpTranscriber(url) as transcriber:
        with pytest.raises(TranscriptionFailed):
            await transcriber.transcribe(SOUND, 16_000)


async def test_a_service_that_is_away_is_a_failure() -> None:
    async with HttpTranscriber("http://127.0.0.1:1/v1") as transcriber:
        with pytest.raises(TranscriptionFailed):
            await transcriber.transcribe(SOUND, 16_000)
