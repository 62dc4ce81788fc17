"""Measures a bundle or a run on a manifest's test studies: what `eclip-train evaluate` does."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from pydantic import ValidationError

from service.bundle.labels import LabelSets, Prompts
from service.bundle.preprocess import ImageSpec
from service.studies.images import place_of_images
from training.data.gaze import Sigma
from training.data.labels import Uncertain
from training.data.manifest import read_manifest
from training.data.pairs import Pairs
from training.data.reading import study_pairs
from training.data.spec import Fractions, PhantomData
from training.data.splits import split_studies
from training.data.study import DataError, ManifestStudy, Split
from training.evaluate import PromptMean
from training.evaluate.compare import differences, scored_alike
from training.evaluate.encode import BundleEncoder, DualEncoder, int8_twin
from training.evaluate.published_prompts import read_published
from training.evaluate.result import Result
from training.evaluate.source import named, open_encoder, trained_fractions
from training.evaluate.suite import NEED_TRAINING, run_suite
from training.recipe import Recipe, read_recipe
from training.run.folder import RECIPE, open_data

GAZE_SPREAD = 0.05
"""Spread of a fixation, in widths of the image, if a reading does not state its degrees."""


@dataclass(frozen=True)
class Evaluation:
    """Measures to take on a manifest's test studies.

    train_share: fraction of patients treated as training data if the manifest publishes no split.
    None: use the fractions of the source's recipe if known, else 0. labels: a labels.json, or a
    file of published prompts; None: use the bundle's own. label_set: which set of them;
    None: the only one. uncertain_as: what uncertain findings count as. prompt_mean: how zero-shot
    scores combine a label's prompts.
    """

    manifest: Path
    train_share: float | None
    measures: tuple[str, ...]
    labels: Path | None = None
    uncertain_as: Uncertain = "ignored"
    label_set: str | None = None
    prompt_mean: PromptMean = "unit"

    def __call__(self, source: Path, against: Path | None = None) -> Result:
        """Measures `source`, and its differences from `against` and from its own int8 graphs.

        Raises Disagreement if the zero-shot labels of the two are scored differently.
        """
        encoder = open_encoder(source)
        other = None if against is None else open_encoder(against)
        if other is not None and "zero_shot" in self.measures:
            encoder, other = scored_alike(encoder, other)
        labels = self._labels(encoder, other)
        fractions = self._fractions(encoder)
        pairs = self._read(encoder.image_spec, fractions)
        result = self._run(encoder, source, labels, pairs)
        compared: dict[str, dict[str, float]] = {}
        if against is not None and other is not None:
            same = other.image_spec == encoder.image_spec
            other_pairs = pairs if same else self._read(other.image_spec, fractions)
            compared[against.name] = differences(
                result, self._run(other, against, labels, other_pairs)
            )
        if (small := int8_twin(encoder)) is not None:
            compared["its int8 graphs"] = differences(
                result, self._run(small, source, labels, pairs)
            )
        divided = "train {:g}, validation {:g}, test {:g}".format(*fractions)
        about = result.about | {"patients without a published split": divided}
        return replace(result, about=about, differences=compared)

    def _run(
        self,
        encoder: DualEncoder,
        source: Path,
        labels: Mapping[str, Prompts],
        pairs: Mapping[Split, Pairs],
    ) -> Result:
        about = {"encoder": named(encoder, source), "manifest": self.manifest.name}
        return run_suite(
            encoder,
            pairs["test"],
            pairs.get("train"),
            labels,
            validation=pairs.get("validation"),
            measures=self.measures,
            uncertain_as=self.uncertain_as,
            prompt_mean=self.prompt_mean,
            about=about,
        )

    def _fractions(self, encoder: DualEncoder) -> Fractions:
        """Returns the fractions that keep training data out of the test, or what was asked for."""
        if self.train_share is not None:
            return self.train_share, 0.0, 1 - self.train_share
        return trained_fractions(encoder) or (0.0, 0.0, 1.0)

    def _read(self, spec: ImageSpec, fractions: Fractions) -> dict[Split, Pairs]:
        """Returns the test studies, and those of the other splits that a measure needs."""
        splits = split_studies(read_manifest(self.manifest), fractions)
        folder = place_of_images(self.manifest)
        maps = "maps" in self.measures
        sigma = gaze_sigma(chain.from_iterable(splits.values()), spec) if maps else None
        needed: dict[Split, list[ManifestStudy]] = {
            split: [study for study in studies if maps and study.gaze and study.images]
            for split, studies in splits.items()
        }
        if NEED_TRAINING & set(self.measures):
            needed["train"] = splits["train"]
        needed = {split: studies for split, studies in needed.items() if studies}
        needed["test"] = splits["test"]
        return {split: study_pairs(each, folder, spec, sigma) for split, each in needed.items()}

    def _labels(self, *encoders: DualEncoder | None) -> Mapping[str, Prompts]:
        """Returns the labels of the file, else of the first bundle, else none."""
        if self.labels is None:
            bundles = (e.bundle for e in encoders if isinstance(e, BundleEncoder))
            own = next((bundle.label_sets.root for bundle in bundles), None)
            if own is None and self.label_set is None:
                return {}
            return one_set(own or {}, self.label_set)
        if self.labels.suffix.lower() in (".py", ".csv"):
            return one_set(read_published(self.labels), self.label_set)
        return one_set(read_labels(self.labels).root, self.label_set)


def validation_pairs(source: Path, spec: ImageSpec, recipe: Recipe | None) -> Pairs:
    """Returns the pairs to calibrate on: the validation split of a run's folder or of a manifest.

    If a manifest publishes no split, its studies are split as `recipe` splits its own; without a
    recipe all of them are taken. They have heatmaps if the manifest has gaze, or if the run's
    method used it.
    """
    if source.is_dir():
        return open_data(read_recipe(source / RECIPE), spec, source)("validation")
    fractions = (0.0, 1.0, 0.0)
    if recipe is not None and not isinstance(recipe.data, PhantomData):
        fractions = recipe.data.fractions
    studies = split_studies(read_manifest(source), fractions)["validation"]
    return study_pairs(studies, place_of_images(source), spec, gaze_sigma(studies, spec))


def read_labels(path: Path) -> LabelSets:
    """Reads a labels.json; raises DataError if it is not one."""
    try:
        return LabelSets.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{path.name} does not hold label sets: {where and f'{where}: '}{first['msg']}. "
            "training/configs/chexpert.labels.json shows the form"
        ) from error


def one_set(
    label_sets: Mapping[str, Mapping[str, Prompts]], name: str | None = None
) -> Mapping[str, Prompts]:
    """Returns the labels of the set `name`, or of the only one.

    Raises DataError if there is none of that name, or if there are several and none is named.
    """
    known = ", ".join(label_sets) or "none"
    if name is not None and name not in label_sets:
        raise DataError(f"there is no label set {name!r}; there are {known}")
    if name is None and len(label_sets) != 1:
        raise DataError(
            f"one label set is needed, and there are {known}; name one of them as --label-set"
        )
    return label_sets[name or next(iter(label_sets))]


def gaze_sigma(studies: Iterable[ManifestStudy], spec: ImageSpec) -> Sigma | None:
    """Returns one degree if every reading says what it spans, else a fraction of the width."""
    readings = [reading for study in studies for reading in study.gaze]
    if not readings:
        return None
    if all(len(reading.degree) == len(reading) for reading in readings):
        return Sigma(1.0, "degree")
    return Sigma(GAZE_SPREAD * spec.width, "pixel")
