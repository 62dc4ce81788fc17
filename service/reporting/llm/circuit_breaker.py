"""Stops asking a server for a while after it has failed several times in a row."""

import time

MAX_FAILURES = 2
"""Failures in a row after which a server is not asked for `COOLDOWN_S`."""
COOLDOWN_S = 5.0
"""Seconds for which a failing server is not asked, and after which callers should try again."""


class CircuitBreaker:
    """The recent failures of one server."""

    def __init__(self) -> None:
        self._failures, self._until = 0, 0.0

    @property
    def cooldown_s(self) -> float:
        """Seconds for which the server is still not to be asked; 0 if it may be."""
        return max(0.0, self._until - time.monotonic())

    def record_failure(self) -> None:
        """Counts a failure; begins a cool-down after `MAX_FAILURES` in a row."""
        self._failures += 1
        if self._failures >= MAX_FAILURES:
            self._until = time.monotonic() + COOLDOWN_S

    def record_success(self) -> None:
        """Ends the row of failures."""
        self._failures = 0
