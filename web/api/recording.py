"""The recording of a call: what the PBX calls it, and where in it who spoke."""

from collections.abc import Mapping
from typing import Any, NotRequired

from typing_extensions import TypedDict

from connector.services.marks import Marks

from ..routing import Ask, Route


class MarkJson(TypedDict):
    at: str
    recording_s: float
    """Seconds since the recording began."""
    event: str
    """``recording``, ``mode``, ``left`` or ``call-ended``."""
    mode: NotRequired[str]
    agent: NotRequired[str]
    engagement: NotRequired[str]
    why: NotRequired[str]
    call: NotRequired[str]
    recording: NotRequired[str]


class RecordingJson(TypedDict):
    recording: str
    marks: list[MarkJson]


def recording_routes(marks: Marks) -> list[Route]:
    """The route about a live call's recording; the marks of past calls lie in their side files."""

    async def recording(ask: Ask) -> Mapping[str, Any]:
        return {"recording": ask.call.recording, "marks": [dict(mark) for mark in marks.of(ask.call.id)]}

    path = "/api/v1/calls/{call}/recording"
    return [Route("GET", path, "read-transcript", recording, "The recording and its marks", answer=RecordingJson)]
