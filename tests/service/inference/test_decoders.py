"""Images are decoded on threads, searches' beside those of bulk work."""

import threading

import pytest

from service.deadline import Deadline
from service.errors import DeadlineExceeded, ImageUndecodable, MemoryShort
from service.inference.decoders import Decoders
from service.memory import DecodingMemory


@pytest.fixture
def decoders():
    decoders = Decoders(1, DecodingMemory(100))
    yield decoders
    decoders.close()


def test_no_search_waits_behind_the_images_of_bulk_work(decoders):
    begun, released = threading.Event(), threading.Event()

    def decode_slowly(data, reserve):
        reserve(60)
        begun.set()
        assert released.wait(30)
        return data

    def decode(data, reserve):
        reserve(40)
        return data

    answers = []
    bulk = threading.Thread(
        target=lambda: answers.extend(
            decoders.each([b"bulk"] * 3, Deadline(60, bulk=True), decode_slowly)
        )
    )
    bulk.start()
    try:
        assert begun.wait(10)
        assert decoders.each([b"a", b"b"], Deadline(10), decode) == [b"a", b"b"]
    finally:
        released.set()
        bulk.join()
    assert answers == [b"bulk"] * 3


def test_a_bad_item_is_its_own_error_and_a_shortage_is_everybodys(decoders):
    def decode(data, reserve):
        reserve(1)
        if data == b"short":
            raise MemoryError
        if data == b"bad":
            raise ImageUndecodable("It is damaged.")
        return data

    good, bad = decoders.each([b"good", b"bad"], Deadline(10), decode)
    assert good == b"good"
    assert isinstance(bad, ImageUndecodable)
    with pytest.raises(MemoryShort):
        decoders.each([b"good", b"short"], Deadline(10), decode)
    with pytest.raises(DeadlineExceeded):
        decoders.each([b"good"], Deadline(0), decode)
