"""An encoder over the demo bundle, without the rest of the service."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from service.bundle.manifest import Bundle, load
from service.imaging.decode import ImageLimits
from service.inference.batching import Bounds
from service.inference.encoder import Encoder
from service.inference.session import Towers, Wanted
from service.memory import DecodingMemory
from service.settings import DEMO_BUNDLE

DECODERS = 2
MAX_TEXT_CHARS = 1000
MEMORY = 2**30
QUEUE_ITEMS = 16


@contextmanager
def open_encoder(bundle: Bundle, cache_items: int, precision: Wanted = "auto") -> Iterator[Encoder]:
    encoder = Encoder(
        bundle,
        Towers(bundle, precision=precision),
        ImageLimits(),
        Bounds(batch=8, items=QUEUE_ITEMS),
        decoders=DECODERS,
        memory=DecodingMemory(MEMORY),
        max_text_chars=MAX_TEXT_CHARS,
        cache_items=cache_items,
    )
    try:
        yield encoder
    finally:
        encoder.close()


@pytest.fixture(scope="session")
def encoder() -> Iterator[Encoder]:
    with open_encoder(load(DEMO_BUNDLE), cache_items=1000) as encoder:
        yield encoder
