"""Reads how long another server asks to be left alone (Retry-After, RFC 9110 10.2.3)."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite

MOST_RETRY_S = 86_400.0
"""Seconds: the longest time to wait that a server is believed."""


def retry_after_s(value: str) -> float | None:
    """Returns the seconds that the header names, as seconds or as a date; 0 for a date that passed.

    None for what cannot be read, such as an empty text.
    """
    try:
        seconds = float(value)
    except ValueError:
        try:
            at = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        now = datetime.now(UTC)
        seconds = max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())
    return min(seconds, MOST_RETRY_S) if isfinite(seconds) and seconds >= 0 else None
