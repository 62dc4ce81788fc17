import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cases.words import MEAN_WORDS, sought_words, stored_words

K, B = 1.2, 0.75
WORD = st.sampled_from(["effusion", "left", "right", "lung", "nodule", "opacity", "clear", "no"])


def weights(text):
    words = stored_words(text)
    return dict(zip(words.indices, words.values, strict=True))


@given(st.lists(WORD, min_size=1, max_size=80))
def test_stored_words_have_bm25s_weights(words):
    """Robertson and Zaragoza, The Probabilistic Relevance Framework, 2009, without the IDF."""
    got = weights(" ".join(words))
    for word, count in Counter(words).items():
        (index,) = sought_words(word).indices
        expected = count * (K + 1) / (count + K * (1 - B + B * len(words) / MEAN_WORDS))
        assert got[index] == pytest.approx(expected, rel=1e-5)
    assert len(got) == len(set(words))


@pytest.mark.parametrize("denial", ["no", "not", "without", "nor"])
def test_a_denial_is_a_word_like_any_other(denial):
    assert len(sought_words(f"{denial} pneumothorax").indices) == 2


def test_words_are_stemmed_and_case_does_not_matter():
    assert sought_words("Effusions") == sought_words("effusion")
    assert set(weights("Opacities, clearly.")) == set(sought_words("opacity clear").indices)


@pytest.mark.parametrize("text", ["", " \n", "…", "—", "?!"])
def test_a_text_without_words_has_none(text):
    assert sought_words(text).indices == stored_words(text).indices == []


@given(st.text(max_size=200))
def test_any_text_has_weights_above_nothing(text):
    assert all(value > 0 for value in stored_words(text).values)
    assert set(sought_words(text).values) <= {1.0}
    if re.search(r"[a-z]", text):
        assert stored_words(text).indices
