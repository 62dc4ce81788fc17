"""Adds int8 graphs to a bundle if they give nearly the same search results and findings.

Weights are quantised by channel, activations at run time for each call (ONNX Runtime's dynamic
quantisation). A call therefore takes one item, so that its vector depends on that item alone.
"""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnxruntime.quantization import QuantType, quantize_dynamic

from service.arrays import Bools, FloatArray
from service.bundle.golden import Golden, golden_pixels
from service.bundle.labels import Label, LabelSets
from service.bundle.manifest import INT8, Bundle, Int8, seal
from service.bundle.maps import MapChange, MapKind, text_map
from service.files import written_atomically
from training.data.pairs import Levels, Pairs
from training.evaluate.encode import BATCH, BundleEncoder, DualEncoder, EmbeddedPairs, int8_encoder
from training.evaluate.prompts import ensemble, label_scores, margins
from training.evaluate.zero_shot import calibrated_probability
from training.export.bundle import write_words

LEAST_OVERLAP = 0.9
"""Mean fraction of the ten nearest that stay, both ways of search, below which int8 is refused."""
LEAST_DECISIONS = 0.98
"""Fraction of the zero-shot decisions that stay, below which int8 is refused."""
NEAREST = 10
log = logging.getLogger(__name__)


def with_int8(bundle: Bundle, directory: Path, label_sets: LabelSets, validation: Pairs) -> Bundle:
    """Writes the bundle to `directory`, with int8 graphs if its validation studies admit them.

    Otherwise it warns what the int8 graphs would change.
    """
    with written_atomically(directory) as folder:
        draft = Bundle(folder, bundle.manifest)
        shutil.copytree(bundle.path, folder)
        for tower in bundle.manifest.towers:
            quantise(folder / tower, folder / INT8[tower])
        change = measure(draft, label_sets, validation)
        if (reason := too_much(change)) is not None:
            log.warning("int8 is not admitted: %s", reason)
            for tower in bundle.manifest.towers:
                (folder / INT8[tower]).unlink()
        manifest = bundle.manifest.model_copy(update={"int8": None if reason else change})
        write_words(folder, manifest, label_sets)
        sealed = seal(folder, manifest)
    return Bundle(directory, sealed.manifest)


def quantise(source: Path, target: Path) -> None:
    """Writes the graph with every matrix product by a constant in int8."""
    logging.disable(logging.WARNING)  # it advises a step that gains nothing here
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
    """Measures what the int8 graphs in the draft's folder change on these studies.

    Without labels no decision changes.
    """
    small = int8_encoder(draft)
    ours, theirs = (EmbeddedPairs(each, validation) for each in (BundleEncoder(draft), small))
    text = draft.manifest.golden.text
    return Int8(
        golden=Golden.of(
            text,
            small.images(golden_pixels(draft.manifest.image))[0],
            None if text is None else small.texts([text])[0],
        ),
        studies=len(validation),
        overlap_at_10=overlap(_vectors(ours, text), _vectors(theirs, text)),
        decisions=float(np.mean(calls(ours, label_sets) == calls(theirs, label_sets)))
        if label_sets.root
        else 1.0,
        maps=map_changes(ours, theirs, label_sets),
    )


def _vectors(studies: EmbeddedPairs, text: str | None) -> tuple[FloatArray, FloatArray]:
    """Returns the images' and the reports' vectors; no report's without a text tower."""
    return studies.images, studies.images[:0] if text is None else studies.reports


def map_changes(
    ours: EmbeddedPairs, theirs: EmbeddedPairs, label_sets: LabelSets
) -> dict[MapKind, MapChange]:
    """Returns how each kind of map differs in `theirs`; text maps are those of every label."""
    labels = [label for labels in label_sets.root.values() for label in labels.values()]
    texts = [ensemble(ours.encoder, label.present) for label in labels]
    images = ours.pairs.images
    totals: dict[MapKind, npt.NDArray[np.float64]] = {}
    for start in range(0, len(images), BATCH):
        one, two = (
            _maps(each.encoder, images[start : start + BATCH], texts) for each in (ours, theirs)
        )
        for kind in one:
            totals[kind] = totals.get(kind, np.zeros(4)) + _differences(one[kind], two[kind])
    return {
        kind: MapChange(difference=off / size, same_peak=same / count)
        for kind, (off, size, same, count) in totals.items()
    }


def _maps(
    encoder: DualEncoder, pixels: Levels, texts: list[FloatArray]
) -> dict[MapKind, FloatArray]:
    """Returns the maps of each kind, float32[M,G·G]."""
    attention, patches = encoder.maps(pixels)
    maps: dict[MapKind, FloatArray] = {}
    if attention is not None:
        maps["attention"] = attention.reshape(len(attention), -1)
    if patches is not None:
        grids = np.concatenate([text_map(patches, text) for text in texts])
        maps["text"] = grids.reshape(len(grids), -1)
    return maps


def _differences(ours: FloatArray, theirs: FloatArray) -> npt.NDArray[np.float64]:
    """Returns sums over maps: of |ours − theirs|, of |ours|, of equal maxima, and of maps."""
    same = ours.argmax(axis=1) == theirs.argmax(axis=1)
    return np.array([np.abs(ours - theirs).sum(), np.abs(ours).sum(), same.sum(), len(same)])


def too_much(change: Int8) -> str | None:
    """Returns why the change is too large to admit; None if it is not."""
    if not change.overlap_at_10 >= LEAST_OVERLAP:
        return f"only {change.overlap_at_10:.3f} of the ten nearest stay ({LEAST_OVERLAP} needed)"
    if not change.decisions >= LEAST_DECISIONS:
        return f"only {change.decisions:.3f} of the calls stay ({LEAST_DECISIONS} needed)"
    return None


def overlap(
    reference: tuple[FloatArray, FloatArray], other: tuple[FloatArray, FloatArray]
) -> float:
    """Returns the mean fraction of each query's ten nearest that are the same in both.

    reference, other: (images float32[N,D], reports float32[R,D]). Searches run from image to report
    and back; without reports, from image to image.
    """
    images, reports = (0, 1) if len(reference[1]) else (0, 0)
    return float(
        np.mean(
            [
                len(set(a) & set(b)) / len(a)
                for queries, candidates in ((images, reports), (reports, images))
                for a, b in zip(
                    nearest(reference[queries], reference[candidates]),
                    nearest(other[queries], other[candidates]),
                    strict=True,
                )
            ]
        )
    )


def nearest(queries: FloatArray, candidates: FloatArray) -> list[list[int]]:
    """Returns the rows of the `NEAREST` candidates float32[M,D] to each query float32[N,D]."""
    order = np.argsort(-(queries @ candidates.T), axis=1, kind="stable")
    rows: list[list[int]] = order[:, :NEAREST].tolist()
    return rows


def calls(studies: EmbeddedPairs, label_sets: LabelSets) -> Bools:
    """Returns bool[N,L]: whether each label of every set is called.

    It is called by its calibration, or without one where its present prompts are nearer than its
    absent ones: a probability by sigmoid that is not calibrated seldom passes a half.
    """
    columns = [column for labels in label_sets.root.values() for column in _called(studies, labels)]
    return np.stack(columns, axis=1)


def _called(studies: EmbeddedPairs, labels: Mapping[str, Label]) -> list[Bools]:
    scores = label_scores(studies.encoder, studies.images, labels.values()).T
    margin = margins(studies.encoder, studies.images, labels.values()).T
    probabilities = (
        calibrated_probability(score, label)
        for score, label in zip(scores, labels.values(), strict=True)
    )
    return [
        nearer > 0 if probability is None else probability > 0.5
        for nearer, probability in zip(margin, probabilities, strict=True)
    ]
