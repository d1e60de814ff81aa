"""Logs: structlog, for people on a terminal and as JSON lines for journald; one shape for libraries' records too.

Numbers, names and transcript text are logged only under keys that begin with ``pii.`` and dropped unless asked for.
"""

import logging
import sys
from typing import Literal

import structlog
from structlog.dev import plain_traceback
from structlog.processors import ExceptionRenderer
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

from media.logthread import ThreadHandler

_TRACES = ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
"""Never with local variables, which structlog shows by default: they hold passwords and what callers said."""

Format = Literal["auto", "console", "json"]


def configure(*, form: Format = "auto", level: str = "info", pii: bool = False, waits: bool = True) -> None:
    """Sets up structlog and the standard library's root logger, both to standard error.

    Unless it `waits`, a thread writes the lines, and nobody waits for whatever takes them.
    """
    json_lines = form == "json" or (form == "auto" and not sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if not pii:
        shared.append(_without_personal_data)
    last: list[Processor] = (
        [_TRACES, structlog.processors.JSONRenderer()]
        if json_lines
        else [
            _printable,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain_traceback),
        ]
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        # A cached logger keeps this configuration for ever, whatever is configured later; a line costs 84 us for 75.
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr) if waits else ThreadHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # They log each request, candidate or statement: far too much for a service that a call center runs all day.
    for noisy in ("aiohttp.access", "aioice", "aiortc", "aiosqlite", "asyncio", "panoramisk"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("aiohttp.server").addFilter(_no_scanners)


def _no_scanners(record: logging.LogRecord) -> bool:
    """Whoever sends what is no HTTP is answered so; a trace of it at the level of an error tells nobody anything."""
    kind = record.exc_info[0] if record.exc_info else None
    return kind is None or kind.__module__ != "aiohttp.http_exceptions"  # by name: commands need no HTTP server


def _printable(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    """What others have sent neither steers a terminal nor begins a line; JSON escapes it by itself."""
    return {
        key: value if key in _OF_LINES or not isinstance(value, str) else _shown(value) for key, value in event.items()
    }


_OF_LINES = ("exception", "stack")
"""Ours, made of many lines."""


def _shown(text: str) -> str:
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _without_personal_data(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    return {key: value for key, value in event.items() if not key.startswith("pii.")}
