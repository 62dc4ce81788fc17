"""Fits a prompt into a model's context by leaving out the passages farthest from the radiograph."""

from bisect import bisect_right
from collections.abc import Callable, Iterator


def passages_that_fit(count: int, excess: Callable[[int], int]) -> int:
    """Returns how many of `count` passages, nearest first, fit; 0 if not even one does.

    excess: tokens by which a prompt with so many passages exceeds the context, growing with their
    number.
    """
    if excess(count) <= 0:
        return count
    return bisect_right(range(1, count), 0, key=excess)


def halves(count: int) -> Iterator[int]:
    """Yields `count`, half of it, a quarter, down to 1: 9 → 9, 4, 2, 1."""
    while count:
        yield count
        count //= 2
