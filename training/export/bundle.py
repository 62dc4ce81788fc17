"""Writes a model as a bundle: graphs, tokenizer, labels, model card and manifest."""

import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import onnxruntime

from service.arrays import FloatArray
from service.bundle.gate import Gate
from service.bundle.golden import Golden, pack_vector
from service.bundle.labels import LabelSets
from service.bundle.manifest import (
    GATE,
    LABELS,
    MODEL_CARD,
    TOKENIZER,
    Bundle,
    Manifest,
    read_gate,
    seal,
)
from service.bundle.maps import MapKind, MapQuality
from service.bundle.scoring import Scorer, ScoringKind
from service.files import remove_drafts, written_atomically
from training.evaluate.quality import map_quality
from training.evaluate.result import Result
from training.export.card import model_card
from training.export.graphs import check_parity, write_graphs
from training.model.clip import Clip
from training.model.scoring import scorer_of
from training.model.tokenizer import PROBES
from training.model.towers import ImageTower


def write_bundle(
    clip: Clip,
    directory: Path,
    *,
    name: str,
    bundle_version: str,
    label_sets: LabelSets,
    metrics: Mapping[str, float] | None = None,
    image_mean: FloatArray | None = None,
    gate: Gate | None = None,
    quality: Mapping[MapKind, MapQuality] | None = None,
    scoring: ScoringKind | None = None,
) -> Bundle:
    """Writes a bundle to `directory`, which must not exist yet.

    metrics, the quality of maps, and image_mean, the mean vector of validation images float32[D],
    go into the manifest; the gate, fitted on them, into a file of its own. scoring: how labels are
    scored; None: as the model was trained. Raises ScoringError if it cannot be scored so.
    Raises ParityError, and writes nothing, if the graphs differ from torch by more than
    `TOLERANCE` or rank texts differently; FileExistsError if the directory exists.
    """
    make_room(directory)
    scorer = scorer_of(clip.model, scoring)
    clip.model.eval()
    with written_atomically(directory) as draft:
        draft.mkdir()
        write_graphs(clip, draft)
        manifest = _manifest(clip, draft, name, bundle_version, metrics or {}, image_mean, scorer)
        manifest = manifest.model_copy(update={"map_quality": dict(quality or {})})
        if clip.tokenizer is not None:
            clip.tokenizer.save(draft / TOKENIZER)
        if gate is not None:
            (draft / GATE).write_text(gate.model_dump_json(indent=1), encoding="utf-8")
        write_words(draft, manifest, label_sets)
        sealed = seal(draft, manifest)
    return Bundle(directory, sealed.manifest)


def make_room(directory: Path) -> None:
    """Makes the folders above a bundle, and removes what killed exports left next to it.

    Raises FileExistsError if the directory exists.
    """
    if directory.exists():
        raise FileExistsError(
            f"{directory} exists, and a bundle is immutable; choose another directory"
        )
    directory.parent.mkdir(parents=True, exist_ok=True)
    remove_drafts(directory)


def annotate(bundle: Bundle, directory: Path, label_sets: LabelSets, result: Result) -> Bundle:
    """Writes the same towers with other label sets and what the suite measured to `directory`."""
    make_room(directory)
    metrics = {name: estimate.value for name, estimate in result.numbers().items()}
    measured = {"metrics": metrics, "map_quality": map_quality(result)}
    manifest = bundle.manifest.model_copy(update=measured)
    with written_atomically(directory) as draft:
        shutil.copytree(bundle.path, draft)
        write_words(draft, manifest, label_sets, result)
        sealed = seal(draft, manifest)
    return Bundle(directory, sealed.manifest)


def write_words(
    directory: Path, manifest: Manifest, label_sets: LabelSets, result: Result | None = None
) -> None:
    """Writes labels.json and the model card."""
    labels = json.dumps(label_sets.model_dump(mode="json"), indent=1)
    (directory / LABELS).write_text(labels, encoding="utf-8")
    card = model_card(manifest, label_sets, result, read_gate(directory))
    (directory / MODEL_CARD).write_text(card, encoding="utf-8")


def _manifest(
    clip: Clip,
    directory: Path,
    name: str,
    bundle_version: str,
    metrics: Mapping[str, float],
    image_mean: FloatArray | None,
    scorer: Scorer,
) -> Manifest:
    parity = check_parity(clip, directory)
    maps = {name: answer for name, answer in parity.image.items() if name != "embedding"}
    grids = {answer.shape[1:3] for answer in maps.values()}
    golden_text = (None, None) if parity.text is None else (PROBES[1], parity.text[1])
    return Manifest(
        name=name,
        version=bundle_version,
        dimension=parity.image["embedding"].shape[1],
        image=clip.image,
        has_text=clip.tokenizer is not None,
        context_length=clip.context_length,
        patch_grid=grids.pop() if grids else None,
        patches=ImageTower(clip).patch_kind,
        has_attention="attention" in maps,
        logit_scale=scorer.scale,
        logit_bias=scorer.bias,
        scoring=scorer.kind,
        golden=Golden.of(golden_text[0], parity.image["embedding"][0], golden_text[1]),
        metrics=dict(metrics),
        image_mean=None if image_mean is None else pack_vector(image_mean),
        provenance={
            **clip.provenance,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "parity_max_abs_difference": parity.difference,
            "torch": version("torch"),
            "open_clip_torch": version("open_clip_torch"),
            "onnxruntime": onnxruntime.__version__,
        },
    )
