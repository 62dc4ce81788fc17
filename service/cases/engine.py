"""Turns what a store's engine raises into a typed error, and logs its cause without data."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import StoreFull, StoreUnavailable
from service.telemetry import log

RETRY_AFTER_S = 5.0
"""Seconds after which a client may try again."""
_PANIC = "PanicException"
"""Name of what a panic of Rust code becomes; its class derives from BaseException alone."""
_FULL = re.compile(r"no space left|os error 28|disk space|quota exceeded", re.IGNORECASE)
_KNOWN = re.compile(
    r"service (?:internal|runtime) error|bad request|bad input|wrong input|operation failed"
    r"|no space left on device|disk quota exceeded|permission denied|operation not permitted"
    r"|read-only file system|input/output error|stale file handle|no such file or directory"
    r"|too many open files|cannot allocate memory|out of memory|timed? ?out|deadline exceeded"
    r"|connection (?:refused|reset|closed)|failed to connect|unavailable|unauthenticated"
    r"|panicked|out of bounds|unwrap|corrupt\w*|checksum|deserializ\w*|serializ\w*|not found"
    r"|write-ahead log|\bwal\b|\bmmap\b|\bsegments?\b|\bflush\b|os error \d{1,3}\b",
    re.IGNORECASE,
)
"""What a cause may say in the log: a closed list, so that nothing of a patient is among it."""
_PHRASES = 8
"""Phrases of a cause that are logged."""
_READ = 10_000
"""Characters of a message in which they are looked for."""


@contextmanager
def engine_errors(
    kinds: type[Exception] | tuple[type[Exception], ...], detail: str
) -> Iterator[None]:
    """Raises StoreUnavailable with this detail for errors of these kinds, and for a panic.

    An error that says that a disk is full raises StoreFull.
    """
    try:
        yield
    except StoreUnavailable:
        raise
    except BaseException as error:
        if not isinstance(error, kinds) and type(error).__name__ != _PANIC:
            raise
        log().error("engine failed", error=type(error).__name__, cause=cause(error))
        if _FULL.search(str(error)):
            raise StoreFull(
                "The store's engine says that its disk is full. Free some room on it."
            ) from error
        raise StoreUnavailable(detail, retry_after_s=RETRY_AFTER_S) from error


def cause(error: BaseException) -> str:
    """Returns what of the error's message is known to be no data; its rest may quote a payload.

    Example: "service internal error, no space left on device, os error 28".
    """
    found = [phrase.lower() for phrase in _KNOWN.findall(str(error)[:_READ])]
    return ", ".join(list(dict.fromkeys(found))[:_PHRASES]) or "not known"
