import numpy as np

from service.bundle.tokenizer import Tokenizer
from service.settings import DEMO_BUNDLE

TEXTS = ["No pneumothorax.", "Small left effusion. " * 80, ""]


def test_a_saved_tokenizer_gives_the_same_tokens(tmp_path):
    tokenizer = Tokenizer.load(DEMO_BUNDLE / "tokenizer.json", 128)
    tokenizer.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json", 128)
    np.testing.assert_array_equal(again(TEXTS).ids, tokenizer(TEXTS).ids)
    assert again.vocabulary_size == tokenizer.vocabulary_size


def test_a_shorter_context_truncates_and_says_so():
    whole = Tokenizer.load(DEMO_BUNDLE / "tokenizer.json", 128)(TEXTS)
    short = Tokenizer.load(DEMO_BUNDLE / "tokenizer.json", 4)(TEXTS)
    assert whole.ids.shape == (3, 128)
    assert whole.truncated.tolist() == [False, True, False]
    assert short.ids.shape == (3, 4)
    assert short.truncated.tolist() == [True, True, False]
    assert short.counts.tolist() == [4, 4, 2]


def test_a_text_reads_the_same_whatever_its_batch_mates():
    tokenizer = Tokenizer.load(DEMO_BUNDLE / "tokenizer.json", 128)
    together = tokenizer(TEXTS).ids
    for row, text in zip(together, TEXTS, strict=True):
        np.testing.assert_array_equal(tokenizer([text]).ids[0], row)
