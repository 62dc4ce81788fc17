"""Divides a stream of items into groups, so that each request or write has a bounded size."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def grouped(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yields the items in lists of `size`; the last may be shorter."""
    remaining = iter(items)
    while group := list(islice(remaining, size)):
        yield group
