"""A bundle's graphs in int8, admitted only where that changes next to nothing.

Weights are quantised by channel, activations at run time by call (ONNX Runtime's dynamic
quantisation); so a call takes one item, that no vector depends on what was encoded beside it.
"""

import logging
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from onnxruntime.quantization import QuantType, quantize_dynamic

from service.arrays import Bools, FloatArray
from service.bundle.labels import Label, LabelSets
from service.bundle.manifest import INT8, Bundle, Golden, Int8, golden_pixels, seal
from training.data.pairs import Pairs
from training.evaluate.encode import BundleEncoder, Embedded, int8_encoder
from training.evaluate.prompts import margins
from training.evaluate.zero_shot import calibrated_probability
from training.export import write_words

LEAST_OVERLAP = 0.9
"""Of the ten nearest, both ways of search, the mean share that stays."""
LEAST_DECISIONS = 0.98
"""Of the zero-shot calls, the share that stays."""
NEAREST = 10
log = logging.getLogger(__name__)


def with_int8(bundle: Bundle, directory: Path, label_sets: LabelSets, validation: Pairs) -> Bundle:
    """The bundle in `directory`, with int8 graphs where its validation studies admit them.

    Where they do not, a warning says what would change.
    """
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
        draft = Bundle(Path(scratch) / "bundle", bundle.manifest)
        shutil.copytree(bundle.path, draft.path)
        for tower, small in INT8.items():
            quantise(draft.path / tower, draft.path / small)
        found = measure(draft, label_sets, validation)
        if (reason := too_much(found)) is not None:
            log.warning("int8 is not admitted: %s", reason)
            for small in INT8.values():
                (draft.path / small).unlink()
        manifest = bundle.manifest.model_copy(update={"int8": None if reason else found})
        write_words(draft.path, manifest, label_sets)
        sealed = seal(draft.path, manifest)
        draft.path.rename(directory)
    return Bundle(directory, sealed.manifest)


def quantise(source: Path, target: Path) -> None:
    """Write the graph with every matrix product by a constant in int8."""
    logging.disable(logging.WARNING)  # it advises, on the root logger, a step that gains nothing
    try:
        quantize_dynamic(
            source,
            target,
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=["MatMul", "Gemm"],
        )
    finally:
        logging.disable(logging.NOTSET)


def measure(draft: Bundle, label_sets: LabelSets, validation: Pairs) -> Int8:
    """What the int8 graphs in the draft's folder change on these studies."""
    small = int8_encoder(draft)
    ours, theirs = (Embedded(one, validation) for one in (BundleEncoder(draft), small))
    text = draft.manifest.golden.text
    return Int8(
        golden=Golden.of(
            text, small.images(golden_pixels(draft.manifest.image))[0], small.texts([text])[0]
        ),
        studies=len(validation),
        overlap_at_10=overlap((ours.images, ours.reports), (theirs.images, theirs.reports)),
        decisions=float(np.mean(calls(ours, label_sets) == calls(theirs, label_sets))),
    )


def too_much(change: Int8) -> str | None:
    """Why it cannot be admitted; None where it can."""
    if not change.overlap_at_10 >= LEAST_OVERLAP:
        return f"only {change.overlap_at_10:.3f} of the ten nearest stay ({LEAST_OVERLAP} needed)"
    if not change.decisions >= LEAST_DECISIONS:
        return f"only {change.decisions:.3f} of the calls stay ({LEAST_DECISIONS} needed)"
    return None


def overlap(
    reference: tuple[FloatArray, FloatArray], other: tuple[FloatArray, FloatArray]
) -> float:
    """Mean share of each query's ten nearest that are the same, image → report and back.

    (images float32[N,D], reports float32[R,D]) of each; without reports, image → image.
    """
    images, reports = (0, 1) if len(reference[1]) else (0, 0)
    return float(
        np.mean(
            [
                len(set(a) & set(b)) / len(a)
                for queries, found in ((images, reports), (reports, images))
                for a, b in zip(
                    nearest(reference[queries], reference[found]),
                    nearest(other[queries], other[found]),
                    strict=True,
                )
            ]
        )
    )


def nearest(queries: FloatArray, found: FloatArray) -> list[list[int]]:
    """Rows of the `NEAREST` of found float32[M,D] to each of queries float32[N,D]."""
    order = np.argsort(-(queries @ found.T), axis=1, kind="stable")
    rows: list[list[int]] = order[:, :NEAREST].tolist()
    return rows


def calls(studies: Embedded, label_sets: LabelSets) -> Bools:
    """bool[N,L]: whether each label of every set would be called, calibrated where it is."""
    columns = [column for labels in label_sets.root.values() for column in _called(studies, labels)]
    return np.stack(columns, axis=1)


def _called(studies: Embedded, labels: Mapping[str, Label]) -> list[Bools]:
    margin = margins(studies.encoder, studies.images, labels.values())
    probabilities = (
        calibrated_probability(margin[:, at], label) for at, label in enumerate(labels.values())
    )
    return [
        margin[:, at] > 0 if probability is None else probability > 0.5
        for at, probability in enumerate(probabilities)
    ]
