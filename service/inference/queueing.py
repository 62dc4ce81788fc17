"""The arithmetic of waiting: who goes next, how long a batch is held, when to come again.

Plain numbers in, plain numbers out; `batching` does the waiting.
"""

import math

BULK_TURN = 4
"""Bulk work goes first in one call of so many, and therefore never starves."""
SMOOTHING = 0.2


def shares(search: int, bulk: int, most: int, call: int) -> tuple[int, int]:
    """How many of `search` and of `bulk` waiting items go into the `call`th call of at most `most`.

    Searches go first, and bulk work fills what they leave; every `BULK_TURN`th call it is the
    other way round.
    """
    if call % BULK_TURN == 0:
        then = min(bulk, most)
        return min(search, most - then), then
    first = min(search, most)
    return first, min(bulk, most - first)


def evenly(waiting: int, calls: int, most: int) -> int:
    """How many of the waiting items one of `calls` workers takes, so that all of them have some."""
    return min(most, math.ceil(waiting / calls))


def fair_part(places: int) -> int:
    """Returns how many of the queue's places one request may take at a time: half, at least 1.

    A larger request queues in parts of this size, so that others find a place.
    """
    return max(1, places // 2)


def worth_holding(waiting: int, gap_s: float, call_s: float) -> bool:
    """Whether a batch gains by waiting for one more item, on a device where calls cost alike.

    The next item, due in `gap_s`, is spared a call of its own, of `call_s`; each that waits
    already pays the gap. Where a call's cost grows with its items (a CPU) nothing is gained.
    """
    return waiting * gap_s < call_s


def smoothed(mean: float, value: float) -> float:
    """An exponential moving mean, one value further."""
    return mean + SMOOTHING * (value - mean)


def retry_after(waiting: int, seconds_per_item: float) -> int:
    """Whole seconds until `waiting` items have drained, at least one.

    seconds_per_item: as measured, all workers together.
    """
    return max(1, math.ceil(waiting * seconds_per_item))
