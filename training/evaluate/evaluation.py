"""`eclip-train evaluate`: open what is to be measured, read the studies, run the suite."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from service.bundle.labels import Label, LabelSets
from service.bundle.manifest import load
from service.bundle.preprocess import ImageSpec
from training.data.gaze import Sigma
from training.data.manifest import read_manifest
from training.data.pairs import Pairs, split_pairs, study_pairs
from training.data.shards import shard_pairs
from training.data.splits import split_studies
from training.data.study import DataError, Study
from training.evaluate.compare import differences
from training.evaluate.encode import BundleEncoder, Encoder, TorchEncoder, int8_twin
from training.evaluate.result import Result
from training.evaluate.suite import NEED_TRAINING, run_suite
from training.recipe import Fractions, Phantoms, Recipe, Shards
from training.trainer import RECIPE, load_run

GAZE_SPREAD = 0.05
"""Standard deviation of a fixation, in widths of the image, where no reading states its degrees."""


@dataclass(frozen=True)
class Evaluation:
    """Measures on a manifest's test studies.

    train_share: of the patients, where no split is published; None for the shares by which the
    source's own recipe divided what it was trained on, or for none where it tells of no shares.
    labels: a file with one set of prompts; None for the bundle's own.
    """

    manifest: Path
    train_share: float | None
    measures: tuple[str, ...]
    labels: Path | None = None

    def __call__(self, source: Path, against: Path | None = None) -> Result:
        """Measure `source`; its differences are to `against` and to its own int8 graphs."""
        encoder = open_encoder(source)
        other = None if against is None else open_encoder(against)
        labels = self._labels(encoder, other)
        fractions = self._fractions(encoder)
        pairs = self._read(encoder.image_spec, fractions)
        result = self._run(encoder, source, labels, *pairs)
        compared: dict[str, dict[str, float]] = {}
        if against is not None and other is not None:
            same = other.image_spec == encoder.image_spec
            its = pairs if same else self._read(other.image_spec, fractions)
            compared[against.name] = differences(result, self._run(other, against, labels, *its))
        if (small := int8_twin(encoder)) is not None:
            compared["its int8 graphs"] = differences(
                result, self._run(small, source, labels, *pairs)
            )
        divided = "train {:g}, validation {:g}, test {:g}".format(*fractions)
        about = result.about | {"patients without a published split": divided}
        return replace(result, about=about, differences=compared)

    def _run(
        self,
        encoder: Encoder,
        source: Path,
        labels: Mapping[str, Label],
        test: Pairs,
        train: Pairs | None,
    ) -> Result:
        about = {"encoder": named(encoder, source), "manifest": self.manifest.name}
        return run_suite(encoder, test, train, labels, measures=self.measures, about=about)

    def _fractions(self, encoder: Encoder) -> Fractions:
        """What the encoder was trained on is never its test, unless `train_share` says so."""
        if self.train_share is not None:
            return self.train_share, 0.0, 1 - self.train_share
        return trained_fractions(encoder) or (0.0, 0.0, 1.0)

    def _read(self, spec: ImageSpec, fractions: Fractions) -> tuple[Pairs, Pairs | None]:
        """Test and, where a measure needs them and there are any, training studies."""
        splits = split_studies(read_manifest(self.manifest), fractions)
        folder = self.manifest.parent
        sigma = gaze_sigma(splits["test"], spec) if "attention" in self.measures else None
        test = study_pairs(splits["test"], folder, spec, sigma)
        needed = bool(NEED_TRAINING & set(self.measures)) and bool(splits["train"])
        return test, study_pairs(splits["train"], folder, spec) if needed else None

    def _labels(self, *encoders: Encoder | None) -> dict[str, Label]:
        """The file's, else those of the first bundle; none for a run."""
        if self.labels is not None:
            return one_set(LabelSets.model_validate_json(self.labels.read_bytes()))
        bundles = (e.bundle for e in encoders if isinstance(e, BundleEncoder))
        return next((one_set(bundle.label_sets) for bundle in bundles), {})


def open_encoder(source: Path) -> Encoder:
    """The encoder of a run directory or of a bundle; raises BundleCorrupt where it is neither."""
    if (source / RECIPE).is_file():
        return TorchEncoder(load_run(source)[1])
    return BundleEncoder(load(source))


def trained_fractions(encoder: Encoder) -> Fractions | None:
    """(train, validation, test) by which its recipe divided the patients; None where none tells."""
    if isinstance(encoder, BundleEncoder):
        provenance = encoder.bundle.manifest.provenance
    elif isinstance(encoder, TorchEncoder):
        provenance = encoder.clip.provenance
    else:
        return None
    match provenance.get("recipe"):
        case {"data": {"fractions": [float() | int() as train, float() | int() as held, _]}}:
            return train, held, 1 - train - held
    return None


def validation_pairs(source: Path, spec: ImageSpec, recipe: Recipe | None) -> Pairs:
    """What to calibrate on: a run directory's own validation split, or a manifest's.

    Studies of a manifest that publishes no split are divided as `recipe` divided those that it was
    trained on; without one all of them are taken.
    """
    if source.is_dir():
        data = Recipe.model_validate_json((source / RECIPE).read_bytes()).data
        if isinstance(data, Shards):
            return shard_pairs(data.path, "validation", data.fractions, spec, None)
        return split_pairs(data, "validation", spec, source)
    fractions = (0.0, 1.0, 0.0)
    if recipe is not None and not isinstance(recipe.data, Phantoms):
        fractions = recipe.data.fractions
    studies = split_studies(read_manifest(source), fractions)["validation"]
    return study_pairs(studies, source.parent, spec)


def named(encoder: Encoder, source: Path) -> str:
    """A bundle's name, version and id; a run's folder."""
    if not isinstance(encoder, BundleEncoder):
        return source.name
    manifest = encoder.bundle.manifest
    return f"{manifest.name} {manifest.version} ({manifest.id[:12]})"


def one_set(label_sets: LabelSets) -> dict[str, Label]:
    """The labels of the only set; raises DataError where there are several."""
    if len(label_sets.root) != 1:
        raise DataError(
            f"there are the label sets {', '.join(label_sets.root) or 'none'}; "
            "name a file with one of them"
        )
    (labels,) = label_sets.root.values()
    return labels


def gaze_sigma(studies: Iterable[Study], spec: ImageSpec) -> Sigma | None:
    """One degree where every reading says what that spans, else a share of the input's width."""
    readings = [reading for study in studies for reading in study.gaze]
    if not readings:
        return None
    if all(len(reading.degree) == len(reading) for reading in readings):
        return Sigma(1.0, "degree")
    return Sigma(GAZE_SPREAD * spec.width, "pixel")
