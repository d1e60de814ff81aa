"""Where in a call's recording who spoke: modes as they change, in memory and as JSON lines in a side file.

The PBX records; it knows nothing of modes. A line has `at` (RFC 3339, UTC) and, for who seeks in the recording,
`recording_s`: seconds since caller and AI were joined, which is when it begins.
"""

import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog

from ..domain.calls import Call, CallId, Engagement, EngagementId, Mode, Phase
from .changes import CallRemoved, CallUpserted, Change, EngagementChanged
from .registry import Registry

log = structlog.get_logger(__name__)

Mark = Mapping[str, str | float]
_UNSAFE = re.compile(r"[^A-Za-z0-9._~-]")
FLUSH = 1_000
"""Lines that may wait for the disk; then marks are in memory only."""


def now() -> datetime:
    """The time of day."""
    return datetime.now(UTC)


class Marks:
    """The marks of all calls that are being recorded. `run` writes the files."""

    def __init__(self, registry: Registry, folder: Path, clock: Callable[[], datetime] = now) -> None:
        self._folder = folder
        self._clock = clock
        self._calls: dict[CallId, Call] = {}
        self._marks: dict[CallId, list[Mark]] = {}
        self._modes: dict[EngagementId, Mode] = {}
        self._lines: asyncio.Queue[tuple[Path, str]] = asyncio.Queue(FLUSH)
        registry.watch(self._seen)

    def of(self, call: CallId) -> Sequence[Mark]:
        """The marks of a live call, in order."""
        return tuple(self._marks.get(call, ()))

    def path(self, call: CallId) -> Path:
        """The side file of a call, which is there when the call was recorded."""
        return self._folder / f"{_UNSAFE.sub('_', call)}.jsonl"

    async def forget(self, before: datetime) -> int:
        """Deletes side files that nothing was added to since `before`; returns how many."""
        return await asyncio.to_thread(_forget, self._folder, before.timestamp())

    async def written(self) -> None:
        """Returns when all marks so far are in their files, or could not be written."""
        await self._lines.join()

    async def run(self) -> None:
        """Writes, off the loop: a slow disk holds nobody up."""
        while True:
            path, line = await self._lines.get()
            try:
                await asyncio.to_thread(_append, path, line)
            except OSError as error:
                log.warning("marks.not-written", path=str(path), why=error.strerror)
            finally:
                self._lines.task_done()

    def _seen(self, change: Change) -> None:
        match change:
            case CallUpserted(_, call) if call.recording:
                begins = call.id not in self._calls
                self._calls[call.id] = call
                if begins:
                    self._add(call, {"event": "recording", "call": call.id, "recording": call.recording})
            case EngagementChanged(_, engagement, ended) if engagement.call in self._calls:
                self._engaged(self._calls[engagement.call], engagement, ended)
            case EngagementChanged(_, engagement, str()):  # it ends after its call: that says it all
                self._modes.pop(engagement.id, None)
            case CallRemoved(_, call_id, why) if call_id in self._calls:
                self._add(self._calls[call_id], {"event": "call-ended", "why": why})
                del self._calls[call_id]
                del self._marks[call_id]

    def _engaged(self, call: Call, engagement: Engagement, ended: str | None) -> None:
        """Marks what is in effect; not what was only asked for."""
        who = {"engagement": engagement.id, "agent": engagement.agent_name}
        if ended is not None:
            was = self._modes.pop(engagement.id, None)
            if was is not None:
                self._add(call, {"event": "left", "mode": was.value, "why": ended, **who})
        elif engagement.phase is Phase.ACTIVE and self._modes.get(engagement.id) is not engagement.mode:
            self._modes[engagement.id] = engagement.mode
            self._add(call, {"event": "mode", "mode": engagement.mode.value, **who})

    def _add(self, call: Call, facts: Mapping[str, str]) -> None:
        at = self._clock()
        began = call.answered_at or call.started_at
        stamp = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        mark: Mark = {"at": stamp, "recording_s": round(max((at - began).total_seconds(), 0.0), 3), **facts}
        self._marks.setdefault(call.id, []).append(mark)
        try:
            self._lines.put_nowait((self.path(call.id), json.dumps(mark, ensure_ascii=False) + "\n"))
        except asyncio.QueueFull:
            log.warning("marks.not-written", path=str(self.path(call.id)), why="the disk is too slow")


def _forget(folder: Path, before: float) -> int:
    forgotten = 0
    for path in folder.glob("*.jsonl"):
        try:
            if path.stat().st_mtime < before:
                path.unlink()
                forgotten += 1
        except OSError as error:
            log.warning("marks.not-forgotten", path=str(path), why=error.strerror)
    return forgotten


def _append(path: Path, line: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(line)
