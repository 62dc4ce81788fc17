"""Exports a run, or a model of open_clip or transformers, as a bundle: `eclip-train export`."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from service.bundle.labels import LabelSets
from service.bundle.manifest import Bundle
from service.bundle.scoring import ScoringKind
from training.data.pairs import Pairs
from training.evaluate.calibration import calibrate_sets
from training.evaluate.encode import NO_TEXT, EmbeddedPairs, TorchEncoder
from training.evaluate.evaluation import read_labels, validation_pairs
from training.evaluate.quality import quality_on
from training.export.bundle import make_room, write_bundle
from training.export.gate import fit_gate
from training.export.int8 import with_int8
from training.export.specimens import specimens
from training.model.clip import Clip
from training.model.from_transformers import PREFIX, from_transformers
from training.recipe import ModelSpec, Recipe, RecipeError
from training.run.folder import is_run, load_run, measured
from training.run.models import open_clip_model


@dataclass(frozen=True)
class Exported:
    """A written bundle. uncalibrated: `set: label`, or `all labels` → why it has no calibration."""

    bundle: Bundle
    uncalibrated: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Exportable:
    """A model to export, with its run's recipe and validation values if it has a run."""

    clip: Clip
    name: str
    recipe: Recipe | None = None
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Export:
    """How a model is exported.

    labels: a labels.json. name: the bundle's; None: the recipe's or the model's. validation: a
    manifest or a run, whose validation split calibrates probabilities, admits int8 graphs and, with
    gaze or lesions, measures maps; None: none of it. pretrained: for a model of open_clip.
    reducing_gap: for a model that is no run. A model of images alone has no labels.
    scoring: how labels are scored; None: as the model was trained.
    """

    labels: Path
    version: str = "1"
    name: str | None = None
    validation: Path | None = None
    pretrained: str | None = None
    reducing_gap: float | None = None
    scoring: ScoringKind | None = None

    def __call__(self, source: str, directory: Path) -> Exported:
        """Writes the bundle of a run's folder, or of a model of open_clip or transformers.

        source: the folder, the model as open_clip names it, or `transformers:` with a folder or a
        name on the hub. Raises FileExistsError if `directory` exists, RecipeError if `source` is
        neither a run nor a model, UnsupportedModel if it is one of transformers that no bundle can
        hold, ScoringError if it cannot be scored as asked, ParityError if ONNX differs from torch.
        """
        make_room(directory)
        model = self._open(source)
        has_text = model.clip.tokenizer is not None
        label_sets = read_labels(self.labels) if has_text else LabelSets({})
        uncalibrated = {} if has_text else {"all labels": NO_TEXT}
        if self.validation is None:
            return Exported(self._write(model, directory, label_sets), uncalibrated)
        pairs = validation_pairs(self.validation, model.clip.image, model.recipe)
        return self._calibrated(model, directory, label_sets, pairs, uncalibrated)

    def _open(self, source: str) -> Exportable:
        if source.startswith(PREFIX):
            if self.pretrained is not None:
                raise RecipeError(
                    "a model of transformers comes with its own weights; leave --pretrained out"
                )
            clip = from_transformers(source.removeprefix(PREFIX), specimens())
            name = str(clip.provenance["transformers_model"]).split("/")[-1]
            return Exportable(clip.with_reducing_gap(self.reducing_gap), name)
        if not is_run(Path(source)):
            model = ModelSpec(
                name=source, pretrained=self.pretrained, reducing_gap=self.reducing_gap
            )
            return Exportable(open_clip_model(model), source.split("/")[-1])
        if self.reducing_gap is not None:
            raise RecipeError(
                "a run is exported with the reducing gap that it was trained with; leave "
                "--reducing-gap out"
            )
        recipe, clip = load_run(Path(source))
        return Exportable(clip, recipe.name, recipe, measured(Path(source)))

    def _calibrated(
        self,
        model: Exportable,
        directory: Path,
        label_sets: LabelSets,
        pairs: Pairs,
        uncalibrated: dict[str, str],
    ) -> Exported:
        """Calibrates on the pairs, then writes the bundle, with int8 graphs if admitted."""
        embedded = EmbeddedPairs(TorchEncoder(model.clip, scoring=self.scoring), pairs)
        calibrated, left = calibrate_sets(embedded, label_sets)
        with tempfile.TemporaryDirectory() as scratch:
            draft = self._write(model, Path(scratch) / "bundle", calibrated, embedded)
            admitted = with_int8(draft, directory, calibrated, pairs)
            return Exported(admitted, uncalibrated | left)

    def _write(
        self,
        model: Exportable,
        directory: Path,
        label_sets: LabelSets,
        embedded: EmbeddedPairs | None = None,
    ) -> Bundle:
        return write_bundle(
            model.clip,
            directory,
            name=self.name or model.name,
            bundle_version=self.version,
            label_sets=label_sets,
            metrics=model.metrics,
            image_mean=None if embedded is None else embedded.images.mean(axis=0),
            gate=None if embedded is None else fit_gate(embedded.pairs.images),
            quality=None if embedded is None else quality_on(embedded, label_sets),
            scoring=self.scoring,
        )
