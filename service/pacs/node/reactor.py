"""Keeps pynetdicom's own thread of an association from taking an answer that a caller waits for.

The thread, its reactor, takes requests off the queue on which answers come too. While a caller asks
something it is paused, but pynetdicom 3.0 holds it for paused while it still wakes from the pause
before: it then drops the answer, and a study or an object is missing from a list
(findings/pynetdicom-lost-answer.sh).
"""

import threading
from typing import Any


class Checkpoint:
    """Where the reactor pauses: once `clear` has returned, it is paused if it says that it is.

    It stands in for the threading.Event of an association.
    """

    def __init__(self, association: Any) -> None:
        self._association, self._open = association, True
        self._changed = threading.Condition()

    def set(self) -> None:
        """Lets the reactor pass."""
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Lets it pass no more."""
        with self._changed:
            self._open = False

    def wait(self) -> None:
        """Returns once it may pass. The association says then that its reactor is not paused."""
        with self._changed:
            self._changed.wait_for(lambda: self._open)
            self._association._is_paused = False


def pause_surely(association: Any) -> None:
    """Gives an association such a checkpoint. Its reactor must not have begun."""
    association._reactor_checkpoint = Checkpoint(association)
