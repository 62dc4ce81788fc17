"""Stops asking a server for a while after it has failed several times in a row, or asked for it."""

import time

LONGEST_REST_S = 60.0
"""Seconds: the longest rest that a server is given when it asks for one."""
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

    def rest(self, seconds: float) -> None:
        """Begins a cool-down that the server asks for."""
        self._until = max(self._until, time.monotonic() + min(seconds, LONGEST_REST_S))

    def record_success(self) -> None:
        """Ends the row of failures."""
        self._failures = 0
