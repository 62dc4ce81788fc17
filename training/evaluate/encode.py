"""Encodes images and texts: by a bundle in ONNX Runtime, as the service does, or in torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import nn

from service.arrays import FloatArray
from service.bundle.manifest import IMAGE_TOWER, INT8, TEXT_TOWER, Bundle
from service.bundle.maps import PatchKind
from service.bundle.preprocess import ImageSpec
from service.bundle.scoring import Scorer, ScoringKind
from training.data.pairs import Levels, Pairs
from training.evaluate.result import NotMeasured
from training.model.clip import Clip
from training.model.scoring import scorer_of
from training.model.towers import ImageTower, TextTower

BATCH = 64
"""Images or texts encoded in one call."""
NO_TEXT = "the model encodes images alone"
"""Why nothing that needs texts is measured or calibrated."""


class Maps(NamedTuple):
    """What an image tower gives of N images beside their vectors; None where it has no output.

    attention: float32[N,G,G]. patches: float32[N,G,G,D]. `service.bundle.maps` reads both.
    """

    attention: FloatArray | None
    patches: FloatArray | None


class DualEncoder(Protocol):
    """An image tower and a text tower into one space. Every vector has unit length."""

    @property
    def image_spec(self) -> ImageSpec:
        """How a radiograph is prepared for the image tower."""

    @property
    def scorer(self) -> Scorer:
        """What scores labels."""

    def images(self, pixels: Levels) -> FloatArray:
        """Encodes uint8[N,H,W] at the input size as float32[N,D]."""

    def texts(self, texts: Sequence[str]) -> FloatArray:
        """Encodes N texts as float32[N,D]; raises NotMeasured if the model encodes no texts."""

    @property
    def patch_kind(self) -> PatchKind | None:
        """What the patches of `maps` are; None if there are none."""

    def maps(self, pixels: Levels) -> Maps:
        """Returns the attention and the patches of uint8[N,H,W]."""


@dataclass(frozen=True)
class BundleEncoder:
    """A bundle's graphs, the float ones unless other files are named; `batch` items a call."""

    bundle: Bundle
    image_file: str = IMAGE_TOWER
    text_file: str = TEXT_TOWER
    batch: int = BATCH

    @property
    def image_spec(self) -> ImageSpec:
        """See DualEncoder."""
        return self.bundle.manifest.image

    @property
    def scorer(self) -> Scorer:
        """See DualEncoder."""
        return self.bundle.manifest.scorer

    def images(self, pixels: Levels) -> FloatArray:
        """See DualEncoder."""
        return self._run(self._image_tower, ["embedding"], pixels)[0]

    def texts(self, texts: Sequence[str]) -> FloatArray:
        """See DualEncoder."""
        if not self.bundle.manifest.has_text:
            raise NotMeasured(NO_TEXT)
        return self._run(self._text_tower, ["embedding"], self.bundle.tokenizer(texts).ids)[0]

    @property
    def patch_kind(self) -> PatchKind | None:
        """See DualEncoder."""
        return self.bundle.manifest.patches

    def maps(self, pixels: Levels) -> Maps:
        """See DualEncoder."""
        has = {"attention": self.bundle.manifest.has_attention, "patches": self.patch_kind}
        names = [name for name in has if has[name]]
        if not names:
            return Maps(None, None)
        outputs = dict(zip(names, self._run(self._image_tower, names, pixels), strict=True))
        return Maps(outputs.get("attention"), outputs.get("patches"))

    @cached_property
    def _image_tower(self) -> Any:
        return _session(self.bundle.path / self.image_file)

    @cached_property
    def _text_tower(self) -> Any:
        return _session(self.bundle.path / self.text_file)

    def _run(
        self, session: Any, outputs: list[str], inputs: Levels | npt.NDArray[np.int64]
    ) -> list[FloatArray]:
        (name,) = (each.name for each in session.get_inputs())
        answers = [session.run(outputs, {name: b}) for b in _batches(inputs, self.batch)]
        return [np.concatenate(parts) for parts in zip(*answers, strict=True)]


@dataclass(frozen=True)
class TorchEncoder:
    """The towers that export writes as graphs, run in torch.

    scoring: how labels are scored; None: as the model was trained (`scorer_of`).
    """

    clip: Clip
    device: torch.device = torch.device("cpu")
    scoring: ScoringKind | None = None

    @property
    def image_spec(self) -> ImageSpec:
        """See DualEncoder."""
        return self.clip.image

    @property
    def scorer(self) -> Scorer:
        """See DualEncoder. Raises ScoringError."""
        return scorer_of(self.clip.model, self.scoring)

    def images(self, pixels: Levels) -> FloatArray:
        """See DualEncoder."""
        return self._run(self._image_tower, pixels)[0]

    def texts(self, texts: Sequence[str]) -> FloatArray:
        """See DualEncoder."""
        if self.clip.tokenizer is None:
            raise NotMeasured(NO_TEXT)
        return self._run(self._text_tower, self.clip.tokenizer(texts).ids)[0]

    @property
    def patch_kind(self) -> PatchKind | None:
        """See DualEncoder."""
        return self._image_tower.patch_kind

    def maps(self, pixels: Levels) -> Maps:
        """See DualEncoder."""
        tower, names = self._image_tower, self._image_tower.outputs[1:]
        if not names:
            return Maps(None, None)
        at = range(1, len(names) + 1)
        outputs = dict(zip(names, self._run(tower, pixels, at), strict=True))
        return Maps(outputs.get("attention"), outputs.get("patches"))

    @cached_property
    def _image_tower(self) -> ImageTower:
        return ImageTower(self.clip).eval().to(self.device)

    @cached_property
    def _text_tower(self) -> TextTower:
        return TextTower(self.clip.model).eval().to(self.device)

    @torch.no_grad()
    def _run(
        self,
        tower: nn.Module,
        inputs: Levels | npt.NDArray[np.int64],
        outputs: Sequence[int] = (0,),
    ) -> list[FloatArray]:
        answers = (tower(torch.from_numpy(b).to(self.device)) for b in _batches(inputs, BATCH))
        each = (answer if isinstance(answer, tuple) else (answer,) for answer in answers)
        on_cpu = [[answer[at].float().cpu().numpy() for at in outputs] for answer in each]
        return [np.concatenate(parts) for parts in zip(*on_cpu, strict=True)]


@dataclass(frozen=True)
class EmbeddedPairs:
    """Pairs and their vectors, which are computed when first asked for."""

    encoder: DualEncoder
    pairs: Pairs

    @cached_property
    def images(self) -> FloatArray:
        """The images' vectors, float32[N,D]."""
        return self.encoder.images(self.pairs.images)

    @property
    def patients(self) -> list[str]:
        """The patients of the N studies."""
        return [study.patient_id for study in self.pairs.studies]

    @cached_property
    def reported(self) -> npt.NDArray[np.intp]:
        """The R rows with a report, int[R]."""
        return np.flatnonzero([bool(report) for report in self.pairs.reports])

    @cached_property
    def reports(self) -> FloatArray:
        """The reports' vectors, float32[R,D]."""
        return self.encoder.texts([self.pairs.reports[row] for row in self.reported])


def int8_twin(encoder: DualEncoder) -> BundleEncoder | None:
    """Returns the same bundle's int8 graphs, called as the service calls them; None without."""
    if not isinstance(encoder, BundleEncoder) or encoder.bundle.manifest.int8 is None:
        return None
    return int8_encoder(encoder.bundle)


def int8_encoder(bundle: Bundle) -> BundleEncoder:
    """Returns the int8 graphs in a bundle's folder, called with one item each."""
    return BundleEncoder(bundle, INT8[IMAGE_TOWER], INT8[TEXT_TOWER], batch=1)


def _session(path: Path) -> Any:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def _batches(inputs: Any, size: int) -> Iterator[Any]:
    return (inputs[start : start + size] for start in range(0, len(inputs), size))
