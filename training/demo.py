"""Makes the assets of `service/demo`: a bundle trained on phantoms, and a library of phantoms.

`eclip-train demo` makes all of them from nothing.
"""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from service.arrays import Bools, FloatArray
from service.bundle.labels import Label, LabelSets
from service.bundle.manifest import Bundle, load
from service.bundle.preprocess import ImageSpec
from training.data.gaze import Sigma, heatmap
from training.data.pairs import Pairs
from training.data.phantom import GLOBAL, PROMPTS, PhantomConfig, fingerprint, phantom
from training.data.rendering import phantom_config, phantom_indices, phantom_pairs
from training.data.spec import PhantomData
from training.data.study import ManifestStudy, Split, write_studies
from training.evaluate.calibration import calibrate_sets
from training.evaluate.encode import BundleEncoder, EmbeddedPairs, TorchEncoder
from training.evaluate.evaluation import GAZE_SPREAD
from training.evaluate.figures import maps_figure
from training.evaluate.findings import Findings
from training.evaluate.page import write
from training.evaluate.prompts import label_scores
from training.evaluate.suite import run_suite
from training.evaluate.zero_shot import calibrated_probability
from training.export.bundle import annotate, write_bundle
from training.export.gate import fit_gate
from training.fit.trainer import fit
from training.recipe import Recipe, RecipeError
from training.run.folder import load_run, open_data

NAME, VERSION = "phantom-demo", "2"
LABEL_SET = "phantom"
LIBRARY = PhantomConfig(size=256, seed=7_000)
STUDIES = 240
CANDIDATES = 60
"""Phantoms after those of the library, among which the README's example is sought."""
JPEG_QUALITY = 85
GAZE_SIGMA = Sigma(12.8, "pixel")
MAPS = "maps.png"
"""The figure of maps on phantoms, in the run's folder of reports."""
GAZE_TINT = (255, 64, 0)


def make_demo(recipe: Recipe, run: Path, destination: Path) -> Bundle:
    """Trains or resumes in `run`, then replaces the bundle and library in `destination`."""
    fit(recipe, run)
    made = run / "bundle"
    shutil.rmtree(made, ignore_errors=True)
    example = example_of(make_bundle(run, made))
    for name in ("bundle", "library"):
        shutil.rmtree(destination / name, ignore_errors=True)
    shutil.copytree(made, destination / "bundle")
    make_library(destination / "library")
    make_example(destination, example)
    return load(destination / "bundle")


def make_bundle(run: Path, directory: Path) -> Bundle:
    """Exports a phantom run, calibrated on its validation and measured on its test split.

    It gets no int8 graphs, to stay small: every clone and package carries it.
    """
    recipe, clip = load_run(run)
    if not isinstance(recipe.data, PhantomData):
        raise RecipeError(f"{run} was not trained on phantoms; the demo needs such a run")
    read = open_data(recipe, clip.image, run)
    train, validation = read("train"), read("validation")
    validated = EmbeddedPairs(TorchEncoder(clip), validation)
    label_sets, _ = calibrate_sets(validated, LabelSets.model_validate({LABEL_SET: PROMPTS}))
    clip.provenance.update(
        command="eclip-train demo",
        license="apache-2.0",
        data="synthetic phantoms: no patient, no real radiograph",
        phantom=fingerprint(phantom_config(recipe.data)),
    )
    shutil.rmtree(run / "draft", ignore_errors=True)
    draft = write_bundle(
        clip,
        run / "draft",
        name=NAME,
        bundle_version=VERSION,
        label_sets=label_sets,
        image_mean=validated.images.mean(axis=0),
        gate=fit_gate(validation.images),
    )
    test, thresholds = (
        measured_pairs(recipe.data, clip.image, split) for split in ("test", "validation")
    )
    result = run_suite(
        BundleEncoder(draft), test, train, label_sets.root[LABEL_SET], validation=thresholds
    )
    write(result, run / "report")
    (run / "report" / MAPS).write_bytes(maps_figure(result.sections["maps"].examples))
    return annotate(draft, directory, label_sets, result)


def measured_pairs(data: PhantomData, spec: ImageSpec, split: Split) -> Pairs:
    """Renders the recipe's phantoms of a split, with their lesions and their readers' heatmaps."""
    sigma = Sigma(GAZE_SPREAD * spec.width, "pixel")
    return phantom_pairs(phantom_config(data), phantom_indices(data, split), spec, sigma)


def example_of(bundle: Bundle) -> int:
    """Returns the index of the README's example: the first phantom that the classifier gets right.

    It is the first after the library's with a finding that has a place, all of whose findings are
    called, without abstaining, and no other. If none of `CANDIDATES` is, it is the one whose
    findings stand out most: the least probability of its own less the largest of the others. Where
    a map points plays no part.
    """
    labels, encoder = bundle.label_sets.root[LABEL_SET], BundleEncoder(bundle)
    indices = range(STUDIES, STUDIES + CANDIDATES)
    pairs = phantom_pairs(LIBRARY, indices, encoder.image_spec)
    score = label_scores(encoder, encoder.images(pairs.images), labels.values())
    there = Findings.of(pairs.studies, labels).there
    has_place = np.asarray(there[:, [label not in GLOBAL for label in labels]].any(axis=1))
    called = np.stack([_called(*each) for each in zip(score.T, labels.values(), strict=True)], 1)
    right = np.flatnonzero(has_place & (called == there).all(axis=1))
    if len(right):
        return indices[int(right[0])]
    return indices[_clearest(score, labels, there, has_place)]


def _clearest(score: FloatArray, labels: Mapping[str, Label], there: Bools, allowed: Bools) -> int:
    """Returns the row, of those allowed, whose findings stand out most; see `example_of`.

    A label without a calibration counts as never probable.
    """
    found = [calibrated_probability(*each) for each in zip(score.T, labels.values(), strict=True)]
    never = np.zeros(len(score))
    probability = np.stack([never if each is None else each for each in found], axis=1)
    least = np.where(there, probability, np.inf).min(axis=1)
    gap = least - np.where(there, -np.inf, probability).max(axis=1)
    return int(np.where(allowed, gap, -np.inf).argmax())


def _called(score: FloatArray, label: Label) -> Bools:
    """Returns which of N images the service says have the label, bool[N]; none if uncalibrated."""
    probability = calibrated_probability(score, label)
    if probability is None or label.calibration is None:
        return np.zeros(len(score), bool)
    low, high = label.calibration.abstain
    return (probability > 0.5) & ~((low < probability) & (probability < high))


def make_example(folder: Path, index: int) -> None:
    """Writes the README's radiograph.png, and gaze.png: where its (synthetic) reader looked."""
    drawn = phantom(LIBRARY, index)
    image = Image.fromarray(drawn.image)
    image.save(folder / "radiograph.png")
    looked = heatmap(drawn.study.gaze, image.height, image.width, GAZE_SIGMA)
    picture = image.convert("RGB")
    picture.paste(GAZE_TINT, mask=Image.fromarray((looked * 160).astype(np.uint8)))
    picture.save(folder / "gaze.png")


def make_library(folder: Path) -> None:
    """Writes `STUDIES` phantom studies: images as JPEG, and studies.jsonl."""
    (folder / "images").mkdir(parents=True)
    write_studies(folder / "studies.jsonl", _library_studies(folder))


def _library_studies(folder: Path) -> Iterator[ManifestStudy]:
    for index in range(STUDIES):
        drawn = phantom(LIBRARY, index)
        name = f"images/{index:03d}.jpg"
        Image.fromarray(drawn.image).save(folder / name, quality=JPEG_QUALITY)
        yield replace(drawn.study, images=(name,), gaze=())
