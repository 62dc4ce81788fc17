import numpy as np
import open_clip
import pytest
import tokenizers
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers, processors

from training.model.tokenizer import PROBES, TokenizerMismatch, from_open_clip, learn

REPORTS = [
    "FINDINGS: Small left pleural effusion. No pneumothorax. IMPRESSION: Effusion.",
    "FINDINGS: The heart is enlarged. IMPRESSION: Cardiomegaly.",
]


@pytest.fixture(scope="module")
def clip_bpe():
    return open_clip.get_tokenizer("ViT-B-32")


@pytest.fixture(scope="module")
def converted(clip_bpe):
    return from_open_clip(clip_bpe)


@given(st.text(st.characters(codec="latin-1", exclude_categories=["C"], exclude_characters="&")))
@settings(max_examples=200, deadline=None)
def test_clips_own_token_ids_are_reproduced(clip_bpe, converted, text):
    """Characters that open_clip repairs (HTML entities, mojibake) are stated as not repaired."""
    if open_clip.tokenizer.basic_clean(text) != text.strip():
        return
    np.testing.assert_array_equal(converted([text]).ids, clip_bpe([text]).numpy())


def test_truncation_is_reported(converted):
    tokens = converted([PROBES[0], PROBES[5]])
    assert tokens.truncated.tolist() == [False, True]
    assert tokens.counts[1] == 77


def word_piece(tmp_path, **arguments):
    words = sorted({w for probe in PROBES for w in probe.lower().split()})
    vocabulary = {token: i for i, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    backend = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    ).save_pretrained(tmp_path)
    return open_clip.tokenizer.HFTokenizer(str(tmp_path), context_length=24, **arguments)


@pytest.mark.parametrize("clean", ["whitespace", "lower", "canonicalize"])
def test_a_hugging_face_tokenizer_is_reproduced(tmp_path, clean):
    theirs = word_piece(tmp_path, clean=clean)
    ours = from_open_clip(theirs)
    np.testing.assert_array_equal(ours(PROBES).ids, theirs(list(PROBES)).numpy())


def test_a_tokenizer_that_cannot_be_reproduced_is_refused(tmp_path):
    with pytest.raises(TokenizerMismatch, match="strip_sep_token"):
        from_open_clip(word_piece(tmp_path, strip_sep_token=True))


def test_a_learned_tokenizer_ends_texts_with_its_highest_id():
    tokenizer = learn(REPORTS, vocabulary_size=400, context_length=16)
    tokens = tokenizer(["No pneumothorax.", REPORTS[0] * 5])
    assert tokens.ids.shape == (2, 16)
    end = tokenizer.vocabulary_size - 1
    assert tokens.ids[0, tokens.counts[0] - 1] == end
    assert tokens.ids[1, -1] == end == tokens.ids.max()
    assert tokens.truncated.tolist() == [False, True]


def test_learning_twice_gives_the_same_tokenizer(tmp_path):
    for name in ("a", "b"):
        learn(REPORTS, 400, 16).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
