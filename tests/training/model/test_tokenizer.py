import re

import numpy as np
import open_clip
import pytest
import tokenizers
import transformers
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from training.model.tokenizer import PROBES, TokenizerMismatch, from_open_clip, learn

REPORTS = [
    "FINDINGS: Small left pleural effusion. No pneumothorax. IMPRESSION: Effusion.",
    "FINDINGS: The heart is enlarged. IMPRESSION: Cardiomegaly.",
]


LEARNED = learn(REPORTS, vocabulary_size=400, context_length=16)


@pytest.fixture(scope="module")
def clip_bpe():
    return open_clip.get_tokenizer("ViT-B-32")


@pytest.fixture(scope="module")
def converted(clip_bpe):
    return from_open_clip(clip_bpe)


SPELLED_TOKEN = re.compile("<(start|end)_of_text>", re.IGNORECASE)
LATIN = st.characters(codec="latin-1", exclude_categories=["C"], exclude_characters="&")
PRINTABLE = st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters="&Σ\u0345")


@given(st.text(LATIN) | st.text(PRINTABLE) | st.text(st.sampled_from("a'stve'rLD .,1²µ°\n\t")))
@settings(max_examples=300)
def test_clips_own_token_ids_are_reproduced(clip_bpe, converted, text):
    """What open_clip repairs (HTML entities, mojibake) or takes for a token is stated as not so."""
    assume(not SPELLED_TOKEN.search(text))
    assume(open_clip.tokenizer.basic_clean(text) == text.strip())
    np.testing.assert_array_equal(converted([text]).ids, clip_bpe([text]).numpy())


@given(st.lists(st.sampled_from(["lungs", "CLEAR;", "2.5cm", "no", "é"]), min_size=60))
@settings(max_examples=50)
def test_clips_own_truncation_is_reproduced(clip_bpe, converted, words):
    text = " ".join(words)
    tokens = converted([text])
    np.testing.assert_array_equal(tokens.ids, clip_bpe([text]).numpy())
    assert tokens.truncated[0] == (len(clip_bpe.encode(text)) > 75)
    assert tokens.counts[0] == min(77, len(clip_bpe.encode(text)) + 2)


@pytest.mark.parametrize("token", ["<start_of_text>", "<end_of_text>", "<END_OF_TEXT>"])
def test_a_report_cannot_begin_or_end_itself_by_spelling_a_token(converted, token):
    ids = converted([f"clear {token} lungs"]).ids[0]
    assert (ids == ids.max()).sum() == (ids == ids.max() - 1).sum() == 1


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


def byte_pairs(tmp_path):
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(PROBES, trainer)
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 1))
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(tmp_path)
    return open_clip.tokenizer.HFTokenizer(str(tmp_path), context_length=32)


def test_a_hugging_face_byte_pair_tokenizer_is_reproduced(tmp_path):
    theirs = byte_pairs(tmp_path)
    texts = [*PROBES, "An unseen word: bronchiectasis 胸部 😀"]
    np.testing.assert_array_equal(from_open_clip(theirs)(texts).ids, theirs(texts).numpy())


@pytest.mark.parametrize("clean", ["whitespace", "lower", "canonicalize"])
def test_a_hugging_face_tokenizer_is_reproduced(tmp_path, clean):
    theirs = word_piece(tmp_path, clean=clean)
    ours = from_open_clip(theirs)
    np.testing.assert_array_equal(ours(PROBES).ids, theirs(list(PROBES)).numpy())


def test_a_tokenizer_that_cannot_be_reproduced_is_refused(tmp_path):
    with pytest.raises(TokenizerMismatch, match="strip_sep_token"):
        from_open_clip(word_piece(tmp_path, strip_sep_token=True))


def test_an_unknown_cleaning_step_is_refused(tmp_path):
    tokenizer = word_piece(tmp_path)
    tokenizer.clean_fn = str.upper
    with pytest.raises(TokenizerMismatch, match="tokenizer's cleaning"):
        from_open_clip(tokenizer)


def test_a_learned_tokenizer_ends_texts_with_its_highest_id():
    tokenizer = learn(REPORTS, vocabulary_size=400, context_length=16)
    tokens = tokenizer(["No pneumothorax.", REPORTS[0] * 5])
    assert tokens.ids.shape == (2, 16)
    end = tokenizer.vocabulary_size - 1
    assert tokens.ids[0, tokens.counts[0] - 1] == end
    assert tokens.ids[1, -1] == end == tokens.ids.max()
    assert tokens.truncated.tolist() == [False, True]
    assert (tokens.ids[0, tokens.counts[0] :] == 0).all()
    assert (tokens.ids[0, : tokens.counts[0]] != 0).all()


@given(st.text(st.characters(exclude_categories=["C"]), max_size=40))
@settings(max_examples=50)
def test_a_learned_tokenizer_reads_any_text_within_its_context(text):
    tokens = LEARNED([text])
    assert tokens.ids.shape == (1, 16)
    assert tokens.ids.max() < LEARNED.vocabulary_size <= 400
    assert 2 <= tokens.counts[0] <= 16
    assert tokens.truncated[0] <= (tokens.counts[0] == 16)


def test_learning_twice_gives_the_same_tokenizer(tmp_path):
    for name in ("a", "b"):
        learn(REPORTS, 400, 16).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
