"""Holds Pillow's and pydicom's process-wide settings at what decoding needs, while it runs.

Importing `service.imaging` changes no setting of the process. `decoding` changes these:

- pydicom's value checks are off, it gives no warnings, its logger is silent, and Pillow's logger
  shows warnings only: below that, both quote header values, which may name a patient.
- Pillow's limit of pixels (`MAX_IMAGE_PIXELS`) is off: `ImageLimits` decides from the header,
  before any pixel is decoded, and its limit may be higher than Pillow's.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import ModuleType, SimpleNamespace

from PIL import Image
from pydicom import config, misc

_SILENT = SimpleNamespace(warn=lambda *_, **__: None)
"""What `pydicom.misc`, which gives all warnings of pydicom, has as `warnings` while it is silent.

A warning filter is no guard: when any thread leaves `catch_warnings`, Python restores the filters
that were there before it, without ours.
"""


class _Shared:
    """A context that many threads can be in: the first enters it, the last leaves it."""

    def __init__(self, context: Callable[[], AbstractContextManager[None]]) -> None:
        self._context, self._lock, self._threads = context, threading.Lock(), 0
        self._entered = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if self._threads == 0:
                self._entered.enter_context(self._context())
            self._threads += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._threads -= 1
            if self._threads == 0:
                self._entered.close()


@contextmanager
def _settings() -> Iterator[None]:
    with (
        config.disable_value_validation(),
        _level("pydicom", logging.CRITICAL + 1),
        _level("PIL", logging.WARNING),
        _replaced(misc, "warnings", _SILENT),
        _replaced(Image, "MAX_IMAGE_PIXELS", None),
    ):
        yield


decoding = _Shared(_settings)
"""Context manager around every call of Pillow or pydicom that reads a caller's file.

Any number of threads can be in it; the settings are restored when the last one leaves.
"""


@contextmanager
def _level(name: str, level: int) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextmanager
def _replaced(module: ModuleType, name: str, value: object) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)
