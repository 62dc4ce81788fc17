"""Writes the log: one JSON object a line on standard error, whoever has something to say.

What other libraries log, what Python warns of and what nobody caught goes the same way. Their words
may quote what they work on, which may be a patient's. So of their messages only words are kept that
stand in their code, without values, and of an exception only its class and place.
"""

import logging
import os
import re
import socket
import sys
import threading
import time
import traceback
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

from service.telemetry import log

LINES = 10
"""Lines of one event in `WINDOW_S`. The others are counted. Lines of requests have no limit."""
WINDOW_S = 60.0
"""Seconds in which the lines of an event are counted, from its first."""
UNLIMITED = ("request", "lines left out")
_KIND = ("event", "logger", "error", "place", "why")
"""Members in which all lines of one event are alike."""
_VALUE = "…"
_NUMBER = re.compile(r"\d+")
"""What may differ in the words of one event."""


def configure_logging(level: str) -> None:
    """Sets up the log of this process. Other libraries log only warnings and errors."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            Limiter(),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Lines.factory(sys.stderr),
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Forward()])
    warnings.showwarning = _warned  # type: ignore[assignment]
    sys.excepthook = _uncaught
    sys.unraisablehook = lambda raised: _uncaught(raised.exc_type, raised.exc_value)
    threading.excepthook = lambda raised: _uncaught(raised.exc_type, raised.exc_value)


def failure(error: BaseException) -> dict[str, str]:
    """Returns what a line may say of an exception: class, place and the system's reason.

    The place is where it was raised, after the last of our own functions on the way to it.
    """
    frames = [
        f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    own = [frame for frame in frames if frame.startswith("service.")]
    place = " > ".join(dict.fromkeys([*own[-1:], *frames[-1:]]))
    members = {"error": type(error).__name__, "place": place or "unknown"}
    if isinstance(error, OSError) and error.errno is not None:
        members["reason"] = _reason(error)
    return members


@dataclass
class _Window:
    """The lines of one event since the first."""

    end: float
    lines: int = 0

    @property
    def left_out(self) -> int:
        return max(0, self.lines - LINES)


class Limiter:
    """A step of structlog that drops the lines of an event after its first `LINES` in a window.

    How many were left out is said once the window has ended, before the next line of any event.
    """

    def __init__(self) -> None:
        self._windows: dict[tuple[object, ...], _Window] = {}
        """The windows of events, by their ends."""
        self._lock = threading.RLock()  # a collected object may log while its thread is in here

    def __call__(self, _logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
        """Returns the line, or raises DropEvent."""
        for event, lines in self._ended():
            log().warning("lines left out", of=event, lines=lines)
        if line["event"] not in UNLIMITED and self._count(line) > LINES:
            raise structlog.DropEvent
        return line

    def _ended(self) -> list[tuple[object, int]]:
        """Forgets the windows that have ended, and returns the events of which lines lack."""
        now, ended = time.monotonic(), []
        with self._lock:
            for kind, window in tuple(self._windows.items()):
                if window.end > now:
                    break
                del self._windows[kind]
                if window.left_out:
                    ended.append((kind[0], window.left_out))
        return ended

    def _count(self, line: EventDict) -> int:
        event, *others = (str(line.get(member)) for member in _KIND)
        kind = (_NUMBER.sub(_VALUE, event), *others)
        with self._lock:
            window = self._windows.setdefault(kind, _Window(time.monotonic() + WINDOW_S))
            window.lines += 1
            return window.lines


class _Lines:
    """Writes lines to a stream. One that cannot be written, as on a full disk, is lost."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._lock = stream, threading.RLock()

    @classmethod
    def factory(cls, stream: TextIO) -> Any:
        lines = cls(stream)
        return lambda *_: lines

    def msg(self, line: str) -> None:
        with self._lock, suppress(OSError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = log = msg


class _Forward(logging.Handler):
    """Hands what other libraries log to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        """Logs the record's words without values, and the class and place of its exception.

        Words that were put together while the library ran may quote values: its place stands for
        them.
        """
        error = record.exc_info[1] if record.exc_info else None
        members = failure(error) if error else {}
        say = log().error if record.levelno >= logging.ERROR else log().warning
        place = {"place": f"{record.module}.{record.funcName}:{record.lineno}"}
        words = _words(record)
        say(words or "library message", logger=record.name, **({} if words else place) | members)


def _words(record: logging.LogRecord) -> str | None:
    """Returns the first line of a record's message, of its values numbers only.

    None for a message that does not stand in its caller's code.
    """
    if isinstance(record.msg, OSError) and record.msg.errno is not None:
        return _reason(record.msg)
    if isinstance(record.msg, BaseException):
        return type(record.msg).__name__
    words = str(record.msg).partition("\n")[0]
    if record.name == "asyncio":  # "Exception in callback f(values)"
        return re.sub(r"\([^)].*", "(…)", words)
    if not _is_constant(record):
        return None
    values = record.args if isinstance(record.args, tuple) else ()
    with suppress(TypeError, ValueError, OverflowError):
        return words % tuple(v if isinstance(v, int | float) else _VALUE for v in values)
    return words


def _is_constant(record: logging.LogRecord) -> bool:
    """Decides whether a message stands as it is in the function that logs it, now or above."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if (frame.f_code.co_filename, frame.f_lineno) == (record.pathname, record.lineno):
            return record.msg in frame.f_code.co_consts
        frame = frame.f_back
    return False


def _reason(error: OSError) -> str:
    """Returns the system's words for an error, which has a file's or host's name in its own."""
    if isinstance(error, socket.gaierror):  # its numbers are of another list
        return "The host's name has no address"
    return os.strerror(error.errno or 0)


def _warned(
    _message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object
) -> None:
    log().warning("warning", error=category.__name__, place=f"{Path(filename).name}:{lineno}")


def _uncaught(
    kind: type[BaseException], error: BaseException | None, _trace: TracebackType | None = None
) -> None:
    if isinstance(error, KeyboardInterrupt):
        sys.__excepthook__(kind, error, error.__traceback__)
    elif not issubclass(kind, SystemExit):
        log().error("unexpected error", **(failure(error) if error else {"error": kind.__name__}))
