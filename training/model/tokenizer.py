"""Makes the bundle's tokenizer: learns it from reports, or converts open_clip's."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import open_clip
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from service.bundle.tokenizer import Tokenizer
from training.errors import TrainingError

PAD, START, END, UNKNOWN = "[PAD]", "[START]", "[END]", "[UNK]"

PROBES = (
    "Frontal and lateral views of the chest were obtained.",
    "Small left pleural effusion; no pneumothorax.",
    "  Heart size:  NORMAL (CTR 0.48).\n\nLungs are clear. ",
    "There's a 1.5 cm nodule in the patient's right upper-lobe, unchanged since 2019/03/04.",
    "Épanchement pleural gauche – stable; σ=0.5°, ≥3 mm",
    "No acute cardiopulmonary process. " * 40,
    "x",
)


class TokenizerMismatch(TrainingError, ValueError):
    """The converted tokenizer does not give open_clip's token ids."""


def learn(texts: Iterable[str], vocabulary_size: int, context_length: int) -> Tokenizer:
    """Learns byte-level BPE from reports. The end token has the highest id, for argmax pooling."""
    backend = tokenizers.Tokenizer(models.BPE(unk_token=UNKNOWN))
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel()]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size - 1,
        special_tokens=[PAD, UNKNOWN, START],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    backend.add_special_tokens([END])
    _frame(backend, START, END)
    backend.enable_padding(pad_id=backend.token_to_id(PAD), pad_token=PAD)
    return Tokenizer(backend, context_length)


def from_open_clip(tokenizer: Any) -> Tokenizer:
    """Converts open_clip's SimpleTokenizer or HFTokenizer.

    Raises TokenizerMismatch if it differs from the original on `PROBES`, truncation included.
    open_clip also repairs mojibake and HTML entities (ftfy, html.unescape); the converted tokenizer
    does not. Unlike SimpleTokenizer, it reads `<end_of_text>` in a report as text, and a final Σ
    as σ.
    """
    backend = (
        _from_clip_bpe(tokenizer)
        if isinstance(tokenizer, open_clip.SimpleTokenizer)
        else _from_hugging_face(tokenizer)
    )
    converted = Tokenizer(backend, tokenizer.context_length)
    theirs = tokenizer(list(PROBES)).numpy()
    ours = converted(PROBES).ids
    if not np.array_equal(theirs, ours):
        wrong = [i for i in range(len(PROBES)) if not np.array_equal(theirs[i], ours[i])]
        raise TokenizerMismatch(
            f"the bundle cannot reproduce {type(tokenizer).__name__} on probes {wrong}; give the "
            "model a fast Hugging Face tokenizer without strip_sep_token or tokenizer_mode"
        )
    return converted


def _from_clip_bpe(tokenizer: Any) -> tokenizers.Tokenizer:
    start, end = "<start_of_text>", "<end_of_text>"
    merges = sorted(tokenizer.bpe_ranks, key=tokenizer.bpe_ranks.__getitem__)
    backend = tokenizers.Tokenizer(
        models.BPE(vocab=tokenizer.encoder, merges=merges, end_of_word_suffix="</w>")
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFC(), *_WHITESPACE, normalizers.Lowercase()]
    )
    words = tokenizers.Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    _frame(backend, start, end)
    backend.enable_padding(pad_id=0, pad_token="!")  # noqa: S106 — open_clip pads with id 0
    return backend


def _from_hugging_face(tokenizer: Any) -> tokenizers.Tokenizer:
    fast = tokenizer.tokenizer
    backend = tokenizers.Tokenizer.from_str(fast.backend_tokenizer.to_str())
    cleaning = _CLEANING[_cleaning_name(tokenizer.clean_fn)]
    steps = [*cleaning, backend.normalizer] if backend.normalizer else cleaning
    backend.normalizer = normalizers.Sequence(steps)
    backend.enable_padding(pad_id=fast.pad_token_id, pad_token=fast.pad_token)
    return backend


def _frame(backend: tokenizers.Tokenizer, start: str, end: str) -> None:
    backend.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        special_tokens=[(token, backend.token_to_id(token)) for token in (start, end)],
    )


def _cleaning_name(clean: Callable[[str], str]) -> str:
    for name in _CLEANING:
        if clean is open_clip.tokenizer.get_clean_fn(name):
            return name
    raise TokenizerMismatch(
        f"the bundle cannot reproduce the tokenizer's cleaning {clean!r}; use one of "
        f"{', '.join(_CLEANING)}"
    )


_WHITESPACE = [normalizers.Replace(tokenizers.Regex(r"\s+"), " "), normalizers.Strip()]
_CLEANING = {
    "whitespace": _WHITESPACE,
    "lower": [*_WHITESPACE, normalizers.Lowercase()],
    "canonicalize": [
        normalizers.Replace("_", " "),
        normalizers.Replace(tokenizers.Regex(r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^`{|}~]"""), ""),
        normalizers.Lowercase(),
        *_WHITESPACE,
    ],
}
