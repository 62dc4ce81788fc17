import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.text import fitted

LONG = " ".join(f"Nodule number {index} is seen in the right lung." for index in range(30))


def test_a_report_that_fits_stays_as_it_is(tokenizer):
    reports = ["No pneumothorax.", "Small left effusion. Clear lungs."]
    assert fitted(reports, tokenizer, [np.random.default_rng(0)] * 2) == reports


@given(st.integers(0, 10_000))
@settings(max_examples=20)
def test_of_a_long_report_whole_sentences_are_kept_in_their_order(tokenizer, seed):
    (text,) = fitted([LONG], tokenizer, [np.random.default_rng(seed)])
    assert not tokenizer([text]).truncated[0]
    sentences = [s + "." for s in text.rstrip(".").split(". ")]
    places = [LONG.index(sentence) for sentence in sentences]
    assert places == sorted(places)
    assert len(sentences) >= 2


def test_over_the_epochs_every_sentence_is_read(tokenizer):
    read = {
        sentence
        for seed in range(200)
        for sentence in fitted([LONG], tokenizer, [np.random.default_rng(seed)])[0].split(". ")
    }
    assert len({sentence.rstrip(".") for sentence in read}) == 30


def test_a_sentence_longer_than_the_context_is_left_to_the_tokenizer(tokenizer):
    endless = "word " * 200
    (text,) = fitted([endless], tokenizer, [np.random.default_rng(0)])
    assert text == endless.strip()
