"""Makes the bundle's tokenizer: learns it from reports, or converts another library's."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import tokenizers
import transformers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers.convert_slow_tokenizer import import_protobuf

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
    """The converted tokenizer does not give the original's token ids."""


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
    _frame(backend, START, "$A", END)
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
    _check(converted, tokenizer, tokenizer(list(PROBES)).numpy())
    return converted


def from_transformers(tokenizer: Any, context_length: int) -> Tokenizer:
    """Converts a tokenizer of transformers, which pads and truncates at the end.

    Raises TokenizerMismatch if it differs from the original on `PROBES`, truncation included.
    Unlike SiglipTokenizer, it reads `</s>` in a report as text, and a final Σ as σ.
    """
    for side in ("padding_side", "truncation_side"):
        if getattr(tokenizer, side) != "right":
            raise TokenizerMismatch(
                f"a bundle pads and truncates texts at their end; set {side} to right in "
                "tokenizer_config.json if the model was trained so"
            )
    if tokenizer.pad_token is None:
        raise TokenizerMismatch("the tokenizer has no pad_token; name it in tokenizer_config.json")
    if isinstance(tokenizer, transformers.SiglipTokenizer):
        backend = _from_siglip(tokenizer)
    else:
        backend = _from_fast(tokenizer)
    converted = Tokenizer(backend, context_length)
    theirs = tokenizer(
        list(PROBES), padding="max_length", truncation=True, max_length=context_length
    )
    _check(converted, tokenizer, np.asarray(theirs["input_ids"]))
    return converted


def _check(converted: Tokenizer, original: Any, theirs: npt.NDArray[np.int64]) -> None:
    """Raises TokenizerMismatch if the token ids of `PROBES` are not those of the original."""
    ours = converted(PROBES).ids
    wrong = [i for i in range(len(PROBES)) if not np.array_equal(theirs[i], ours[i])]
    if wrong:
        raise TokenizerMismatch(
            f"the bundle cannot reproduce {type(original).__name__} on probes {wrong}; give the "
            "model a fast Hugging Face tokenizer without strip_sep_token or tokenizer_mode"
        )


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
    _frame(backend, start, "$A", end)
    backend.enable_padding(pad_id=0, pad_token="!")  # noqa: S106 — open_clip pads with id 0
    return backend


def _from_hugging_face(tokenizer: Any) -> tokenizers.Tokenizer:
    backend = _from_fast(tokenizer.tokenizer)
    cleaning = _CLEANING[_cleaning_name(tokenizer.clean_fn)]
    steps = [*cleaning, backend.normalizer] if backend.normalizer else cleaning
    backend.normalizer = normalizers.Sequence(steps)
    return backend


def _from_fast(fast: Any) -> tokenizers.Tokenizer:
    """Copies the backend of transformers' tokenizer."""
    if not fast.is_fast:
        raise TokenizerMismatch(
            f"the bundle cannot reproduce {type(fast).__name__}, which has no tokenizer.json"
        )
    backend = tokenizers.Tokenizer.from_str(fast.backend_tokenizer.to_str())
    backend.enable_padding(pad_id=fast.pad_token_id, pad_token=fast.pad_token)
    return backend


def _from_siglip(tokenizer: Any) -> tokenizers.Tokenizer:
    """Builds SigLIP's cleaning, its SentencePiece model (spiece.model) and its end token.

    The tokenizer puts ▁ before the text and then removes ASCII punctuation. So a space after a
    leading hyphen stays: `- clear` begins with two ▁.
    """
    proto = import_protobuf().ModelProto()  # type: ignore[no-untyped-call]
    proto.ParseFromString(Path(tokenizer.vocab_file).read_bytes())
    pieces = [(piece.piece, piece.score) for piece in proto.pieces]
    trained = proto.trainer_spec
    backend = tokenizers.Tokenizer(
        models.Unigram(pieces, unk_id=trained.unk_id, byte_fallback=trained.byte_fallback)
    )
    folded = proto.normalizer_spec.precompiled_charsmap
    backend.normalizer = normalizers.Sequence(
        [
            normalizers.Replace("▁", " "),
            normalizers.Prepend("▁"),
            *([normalizers.Lowercase()] if tokenizer.do_lower_case else []),
            normalizers.Replace(tokenizers.Regex(r"[!-/:-@\[-`{-~]"), ""),
            *_WHITESPACE,
            *([normalizers.Precompiled(folded)] if folded else []),
            normalizers.Replace(tokenizers.Regex(" +"), "▁"),
            normalizers.Replace(tokenizers.Regex(r"▁+\z"), ""),
        ]
    )
    _frame(backend, "$A", tokenizer.eos_token)
    backend.enable_padding(pad_id=tokenizer.pad_token_id, pad_token=tokenizer.pad_token)
    return backend


def _frame(backend: tokenizers.Tokenizer, *template: str) -> None:
    """Puts special tokens around the text, which is `$A` in the template."""
    backend.post_processor = processors.TemplateProcessing(
        single=" ".join(template),
        special_tokens=[(each, backend.token_to_id(each)) for each in template if each != "$A"],
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
