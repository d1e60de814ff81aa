"""Log lines written by a thread: whoever logs never waits for a terminal, a disk or a journal that is stuck."""

import logging
import queue
import threading
import time
from typing import TextIO

WAITING = 20_000
"""Lines; some ten megabytes. What comes after them is counted, and left out."""
LAST_S = 2.0
"""For the last lines, when the process ends."""


class ThreadHandler(logging.Handler):
    """Formats at once and hands the line to its thread."""

    def __init__(self, stream: TextIO, waiting: int = WAITING, last_s: float = LAST_S) -> None:
        super().__init__()
        self._stream = stream
        self._last_s = last_s
        self._lines: queue.Queue[str] = queue.Queue(waiting)
        self._lost = 0
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queues the line."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - a line that cannot be formatted is the logging's own fault, told its way
            self.handleError(record)
            return
        if self._lost:
            line = f"{self.format(self._gap())}\n{line}"
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self._lost += 1
        else:
            self._lost = 0

    def _gap(self) -> logging.LogRecord:
        said = f"{self._lost} log lines were lost: nobody took them"
        return logging.makeLogRecord({"name": __name__, "levelname": "ERROR", "levelno": logging.ERROR, "msg": said})

    def flush(self) -> None:
        """Waits until all is written, but not for ever: at the end of the process."""
        until = time.monotonic() + self._last_s
        while self._lines.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.005)

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            try:
                self._stream.write(line + "\n")
                if self._lines.empty():
                    self._stream.flush()
            except (OSError, ValueError):  # nobody reads any more: there is no place where that could be said
                pass
            finally:
                self._lines.task_done()
