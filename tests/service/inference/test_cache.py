from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ImageUndecodable
from service.inference.cache import AnswerCache

CONTENTS = st.lists(st.sampled_from([b"a", b"b", b"c", b"d"]), max_size=12)


class Upper:
    """Encodes by upper case, and remembers what it was asked for."""

    def __init__(self, contents):
        self.contents, self.asked = contents, []

    def __call__(self, rows):
        self.asked += rows
        return [self.contents[row].upper() for row in rows]


@given(calls=st.lists(CONTENTS, max_size=6), items=st.integers(0, 3))
def test_answers_are_those_of_no_cache_whatever_it_keeps(calls, items):
    cache = AnswerCache("test", items, "space")
    for contents in calls:
        assert cache.get_or_encode(contents, Upper(contents)) == [c.upper() for c in contents]


def test_what_was_embedded_before_is_not_embedded_again():
    cache = AnswerCache("test", 8, "space")
    cache.get_or_encode([b"a", b"b"], Upper([b"a", b"b"]))
    encode = Upper([b"b", b"c", b"a"])
    assert cache.get_or_encode(encode.contents, encode) == [b"B", b"C", b"A"]
    assert encode.asked == [1]


def test_the_one_used_longest_ago_makes_room():
    cache = AnswerCache("test", 2, "space")
    for content in (b"a", b"b", b"a", b"c"):
        cache.get_or_encode([content], Upper([content]))
    encode = Upper([b"a", b"b"])
    cache.get_or_encode(encode.contents, encode)
    assert encode.asked == [1]


def test_an_error_is_found_out_anew_each_time():
    cache = AnswerCache("test", 2, "space")
    error = ImageUndecodable("damaged")
    asked = []
    for _ in range(2):
        assert cache.get_or_encode([b"x"], lambda rows: asked.append(rows) or [error]) == [error]
    assert len(asked) == 2


def test_an_encoder_that_raises_leaves_nothing_behind():
    cache = AnswerCache("test", 2, "space")

    def fail(_):
        raise TimeoutError

    with pytest.raises(TimeoutError):
        cache.get_or_encode([b"a"], fail)
    encode = Upper([b"a"])
    cache.get_or_encode([b"a"], encode)
    assert encode.asked == [0]


def test_threads_may_share_it():
    cache = AnswerCache("test", 3, "space")
    contents = [bytes([97 + at % 5]) for at in range(40)]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda c: cache.get_or_encode([c], Upper([c])), contents))
    assert got == [[content.upper()] for content in contents]
