"""Calculates how work waits: what goes next, how long a batch is held, when to try again.

Plain numbers in, plain numbers out; `service.inference.batching` does the waiting.
"""

import math

BULK_TURN = 4
"""Calls: every fourth takes bulk work first, so that bulk work never starves."""
SMOOTHING = 0.2
"""Weight of the newest value in a moving mean."""


def fill_batch(searches: int, bulk: int, limit: int, call: int) -> tuple[int, int]:
    """Returns how many waiting searches and bulk items go into the `call`th call.

    Searches go first and bulk work fills the rest, up to `limit` together; in every
    `BULK_TURN`th call bulk work goes first.

    Example: 3 searches and 9 bulk items at a limit of 8 give (3, 5), in a fourth call (0, 8).
    """
    if call % BULK_TURN == 0:
        bulk_first = min(bulk, limit)
        return min(searches, limit - bulk_first), bulk_first
    searches_first = min(searches, limit)
    return searches_first, min(bulk, limit - searches_first)


def even_share(waiting: int, calls: int, limit: int) -> int:
    """Returns how many waiting items one of `calls` workers takes, so that each gets some.

    Example: 10 items for 4 workers are 3 each, and at a limit of 2 they are 2.
    """
    return min(limit, math.ceil(waiting / calls))


def bulk_share(places: int) -> int:
    """Returns how many of the places all bulk work together may take: three quarters, at least 1.

    Searches, classifications and reports may take all places, so a quarter is theirs alone.
    """
    return max(1, places * 3 // 4)


def fair_part(places: int, *, bulk: bool) -> int:
    """Returns how many of the places one request may take at a time: half, or an eighth if bulk.

    A larger request queues in parts of this size, so that others find a place.
    """
    return max(1, places // (8 if bulk else 2))


def worth_holding(waiting: int, gap_s: float, call_s: float) -> bool:
    """Decides whether a batch gains by waiting for one more item. A call costs alike at any size.

    The next item, due in `gap_s`, is spared a call of its own, of `call_s`; each waiting item
    pays the gap. On a CPU, where a call's cost grows with its items, holding gains nothing.

    Example: with calls of 50 ms and an item every 10 ms, up to 4 items wait for another.
    """
    return waiting * gap_s < call_s


def smoothed(mean: float, value: float) -> float:
    """Returns an exponential moving mean after one more value."""
    return mean + SMOOTHING * (value - mean)


def retry_after(waiting: int, seconds_per_item: float) -> int:
    """Returns the whole seconds until `waiting` items have drained, at least 1.

    seconds_per_item: measured, all workers together.
    """
    return max(1, math.ceil(waiting * seconds_per_item))
