"""open_clip model → parity-checked bundle.

Scaling, channel replication, normalisation and unit length go inside the ONNX graphs
(ARCHITECTURE rule 3): `image.onnx` takes pixels uint8[N,H,W], `text.onnx` tokens int64[N,L].
"""

import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir
import onnxruntime
import torch
from torch import Tensor, nn
from torch.nn import functional

from service.arrays import FloatArray
from service.bundle.labels import LabelSets
from service.bundle.manifest import (
    IMAGE_TOWER,
    LABELS,
    MODEL_CARD,
    TEXT_TOWER,
    TOKENIZER,
    Bundle,
    Golden,
    Manifest,
    golden_pixels,
    pack_vector,
    seal,
)
from service.bundle.preprocess import ImageSpec
from training.evaluate.result import Result
from training.model.card import model_card
from training.model.clip import Clip
from training.model.patches import patch_tokens
from training.model.pixels import NormalisePixels
from training.model.tokenizer import PROBES

TOLERANCE = 1e-4
TRACE_BATCH = 2
CHECKED_BATCHES = (1, 2, 7)
RANKED = 10


class ParityError(RuntimeError):
    """ONNX Runtime does not reproduce torch; no bundle was written."""


class ImageTower(nn.Module):
    """pixels uint8[N,H,W] → embedding float32[N,D] and, for ViTs, patches float32[N,G,G,D].

    Patches are the tower's last tokens, through the tower's own projection, unit length.
    """

    def __init__(self, clip: Clip) -> None:
        super().__init__()
        self.model = clip.model
        self.patches = patch_tokens(clip.model.visual)
        self.normalise = NormalisePixels(clip.normalisation)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """One image batch; see the class."""
        images = self.normalise(pixels)
        if self.patches is None:
            return (_unit(self.model.encode_image(images)),)
        pooled, patches = self.patches(images)
        return _unit(pooled), _unit(patches)


class TextTower(nn.Module):
    """tokens int64[N,L] → embedding float32[N,D]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        """One text batch; see the class."""
        return _unit(self.model.encode_text(tokens))


def export(
    clip: Clip,
    directory: Path,
    *,
    name: str,
    bundle_version: str,
    label_sets: LabelSets,
    metrics: Mapping[str, float] | None = None,
    image_mean: FloatArray | None = None,
) -> Bundle:
    """Write a bundle to `directory`, which must not exist yet.

    metrics, image_mean (of validation images, float32[D]): go into its manifest.

    Raises ParityError, and writes nothing, when the graphs differ from torch by more than
    `TOLERANCE` anywhere or rank texts differently.
    """
    make_room(directory)
    clip.model.eval()
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
        draft = Path(scratch) / "bundle"
        draft.mkdir()
        _write_graphs(clip, draft)
        manifest = _manifest(clip, draft, name, bundle_version, metrics or {}, image_mean)
        clip.tokenizer.save(draft / TOKENIZER)
        write_words(draft, manifest, label_sets)
        sealed = seal(draft, manifest)
        draft.rename(directory)
    return Bundle(directory, sealed.manifest)


def make_room(directory: Path) -> None:
    """Raise FileExistsError where a bundle cannot be put; else make the folders above."""
    if directory.exists():
        raise FileExistsError(f"{directory} exists; a bundle is immutable, choose another place")
    directory.parent.mkdir(parents=True, exist_ok=True)


def annotate(bundle: Bundle, directory: Path, label_sets: LabelSets, result: Result) -> Bundle:
    """The same towers with other label sets and what the suite measured, in `directory`."""
    metrics = {name: one.value for name, one in result.numbers().items()}
    manifest = bundle.manifest.model_copy(update={"metrics": metrics})
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
        draft = Path(scratch) / "bundle"
        shutil.copytree(bundle.path, draft)
        write_words(draft, manifest, label_sets, result)
        sealed = seal(draft, manifest)
        draft.rename(directory)
    return Bundle(directory, sealed.manifest)


def write_words(
    directory: Path, manifest: Manifest, label_sets: LabelSets, result: Result | None = None
) -> None:
    """labels.json and the model card."""
    labels = json.dumps(label_sets.model_dump(mode="json"), indent=1)
    (directory / LABELS).write_text(labels, encoding="utf-8")
    (directory / MODEL_CARD).write_text(model_card(manifest, label_sets, result), encoding="utf-8")


def _write_graphs(clip: Clip, directory: Path) -> None:
    pixels = torch.zeros(TRACE_BATCH, clip.image.height, clip.image.width, dtype=torch.uint8)
    tower = ImageTower(clip).eval()
    outputs = ["embedding"] if tower.patches is None else ["embedding", "patches"]
    _write_graph(tower, pixels, directory / IMAGE_TOWER, "pixels", outputs)
    tokens = torch.from_numpy(clip.tokenizer(PROBES[:TRACE_BATCH]).ids)
    text_tower = TextTower(clip.model).eval()
    _write_graph(text_tower, tokens, directory / TEXT_TOWER, "tokens", ["embedding"])


def _write_graph(
    tower: nn.Module, example: Tensor, path: Path, input_name: str, outputs: list[str]
) -> None:
    with torch.no_grad(), _quiet_exporter():
        program = torch.onnx.export(
            tower,
            (example,),
            input_names=[input_name],
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # noqa: S101 — dynamo=True always returns a program
    _name_outputs(program.model.graph, outputs)
    program.save(path, external_data=False)


def _name_outputs(graph: onnx_ir.Graph, names: list[str]) -> None:
    """Name the outputs ourselves: the exporter's own names may be taken by an inner value."""
    for node in graph:
        for value in node.outputs:
            if value.name in names:
                value.name = f"{value.name}_inner"
    for value, name in zip(graph.outputs, names, strict=True):
        value.name = name


def _manifest(
    clip: Clip,
    directory: Path,
    name: str,
    bundle_version: str,
    metrics: Mapping[str, float],
    image_mean: FloatArray | None,
) -> Manifest:
    image_answers, text_answers, difference = check_parity(clip, directory)
    grid = patch_tokens(clip.model.visual)
    logit_bias = getattr(clip.model, "logit_bias", None)
    return Manifest(
        name=name,
        version=bundle_version,
        dimension=image_answers.shape[1],
        image=clip.image,
        context_length=clip.context_length,
        patch_grid=None if grid is None else grid.grid,
        logit_scale=float(clip.model.logit_scale.detach().exp()),
        logit_bias=0.0 if logit_bias is None else float(logit_bias.detach()),
        golden=Golden.of(PROBES[1], image_answers[0], text_answers[1]),
        metrics=dict(metrics),
        image_mean=None if image_mean is None else pack_vector(image_mean),
        provenance={
            **clip.provenance,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "parity_max_abs_difference": difference,
            "torch": version("torch"),
            "open_clip_torch": version("open_clip_torch"),
            "onnxruntime": onnxruntime.__version__,
        },
    )


def check_parity(clip: Clip, directory: Path) -> tuple[FloatArray, FloatArray, float]:
    """Compare the graphs in `directory` with torch; raises ParityError.

    Returns ONNX Runtime's image and text embeddings of the probes, whose first image is the
    golden one, and the largest absolute difference seen.
    """
    pixels = _probe_pixels(clip.image, max(CHECKED_BATCHES))
    tokens = clip.tokenizer(PROBES).ids
    image, image_gap = _compare(ImageTower(clip).eval(), directory / IMAGE_TOWER, pixels)
    text, text_gap = _compare(TextTower(clip.model).eval(), directory / TEXT_TOWER, tokens)
    _check_ranking(image, text)
    return image[0], text[0], max(image_gap, text_gap)


def _compare(
    tower: nn.Module, path: Path, inputs: npt.NDArray[Any]
) -> tuple[tuple[FloatArray, FloatArray], float]:
    """((ONNX, torch) embeddings of all inputs, largest difference over batches and outputs)."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    worst = 0.0
    for size in CHECKED_BATCHES:
        batch = inputs[:size]
        ours = session.run(None, {name: batch})
        with torch.no_grad():
            theirs = tower(torch.from_numpy(batch))
        theirs = theirs if isinstance(theirs, tuple) else (theirs,)
        for mine, reference in zip(ours, theirs, strict=True):
            gap = float(np.abs(mine - reference.numpy()).max())
            if not gap <= TOLERANCE:
                raise ParityError(
                    f"{path.name} differs from torch by {gap:.2e} at batch {size} "
                    f"(allowed {TOLERANCE:.0e})"
                )
            worst = max(worst, gap)
    return (ours[0], theirs[0].numpy()), worst


def _check_ranking(
    image: tuple[FloatArray, FloatArray], text: tuple[FloatArray, FloatArray]
) -> None:
    """Both ways of search must rank alike wherever torch itself tells two scores apart."""
    ours, theirs = image[0] @ text[0].T, image[1] @ text[1].T
    for mine, reference in ((ours, theirs), (ours.T, theirs.T)):
        if not same_ranking(mine, reference):
            raise ParityError("ONNX Runtime and torch rank the probe texts differently")


def same_ranking(scores: FloatArray, reference: FloatArray, ties: float = 1e-5) -> bool:
    """Whether each row's top `RANKED`, read in `scores` order, never rises in the reference.

    scores, reference: float32[Q,N]. Reference scores closer than `ties` may swap.
    """
    order = np.argsort(-scores, axis=1, kind="stable")[:, :RANKED]
    in_order = np.take_along_axis(reference, order, axis=1)
    best = np.sort(reference, axis=1)[:, ::-1][:, :RANKED]
    return bool(np.all(np.abs(in_order - best) <= ties))


def _probe_pixels(spec: ImageSpec, count: int) -> npt.NDArray[np.uint8]:
    noise = np.random.default_rng(0).integers(0, 256, (count - 1, spec.height, spec.width))
    return np.concatenate([golden_pixels(spec), noise.astype(np.uint8)])


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """The exporter warns about its own deprecations, on every call, to every user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _unit(vectors: Tensor) -> Tensor:
    return functional.normalize(vectors, dim=-1)
