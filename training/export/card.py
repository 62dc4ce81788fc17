"""Writes MODEL_CARD.md, in the form of the Hugging Face hub, from the manifest's own facts."""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from service.bundle.gate import Gate
from service.bundle.labels import LabelSets
from service.bundle.manifest import Int8, Manifest
from service.bundle.maps import MapQuality
from service.bundle.scoring import ScoringKind
from training.evaluate.result import COLUMNS, Result

TEMPLATE = """---
{front_matter}---

# {name} {version}

{kind} for chest radiographs, as ONNX graphs. **Not a medical device**: research use only.

| | |
|---|---|
| embedding | {dimension} dimensions, unit length |
| image | {height}×{width} grayscale, fit `{fit}` |
| text | {text} |
| grid of maps | {grid} |
| label sets | {label_sets} |
| scoring | {scoring} |
| precisions | {precisions} |

## Intended use

Research on chest radiographs: {uses}.

## Out of scope

- Diagnosis, triage or any other decision about a patient without a physician who reads the image.
- Images of other body parts or modalities, and patients unlike those in the data below.
- Reading a score as the absence of disease: a low score is no evidence that nothing is there.

## Data

{data}

## Bias and limits

- The model knows the population, devices, exposure and reporting habits of its data, and no others.
  It may be worse for groups that are rare there; nothing here was measured by age, sex or origin.
{limits_of_text}- Measure it on your own patients before you rely on anything it says.

## Measured

{metrics}

## Maps of an image

{maps}

## Images that are no chest radiographs

{gate}

## How it was made

{provenance}
"""
SCORING: dict[ScoringKind, str] = {
    "softmax": "softmax of present against absent prompts",
    "sigmoid": "sigmoid of the similarity to present prompts, with the learned scale and bias",
}
"""How labels are scored, in words."""
USES = (
    "embeddings of images and report sentences, search for similar cases,\nzero-shot scores of "
    "findings, and evidence for draft reports that a radiologist reads and corrects"
)
USES_OF_IMAGES = "embeddings of images, and search for similar images"
LIMITS_OF_TEXT = """\
- Calibrated probabilities hold for the prevalence of the validation studies. Labels without
  calibration give the raw values of the scoring above.
- Reports longer than {context_length} tokens are cut.
"""
TAGS = ("radiology", "chest-x-ray", "clip", "zero-shot", "image-text-retrieval", "onnx")
TAGS_OF_IMAGES = ("radiology", "chest-x-ray", "onnx")
METRIC_IDS = {
    "auroc": "roc_auc",
    "bleu": "bleu",
    "brier": "brier_score",
    "f1": "f1",
    "linear_probe": "roc_auc",
    "precision@": "precision",
    "recall@": "recall",
    "rouge": "rouge",
    "single_label/accuracy": "accuracy",
    "single_label/macro_f1": "f1",
}
"""Beginning of a measure's name → its metric's id on the hub."""


def model_card(
    manifest: Manifest,
    label_sets: LabelSets,
    result: Result | None = None,
    gate: Gate | None = None,
) -> str:
    """Returns the card as Markdown with YAML front matter. result: what the suite measured."""
    has_text, length = manifest.has_text, manifest.context_length
    return TEMPLATE.format(
        front_matter=_front_matter(manifest),
        name=manifest.name,
        version=manifest.version,
        dimension=manifest.dimension,
        height=manifest.image.height,
        width=manifest.image.width,
        fit=manifest.image.fit,
        kind="A contrastive image–text encoder" if has_text else "An image encoder",
        text=f"{length} tokens" if has_text else "none: it encodes images alone",
        uses=USES if has_text else USES_OF_IMAGES,
        limits_of_text=LIMITS_OF_TEXT.format(context_length=length) if has_text else "",
        grid="×".join(map(str, manifest.patch_grid)) if manifest.patch_grid else "none",
        label_sets=", ".join(f"`{name}` ({len(s)})" for name, s in label_sets.root.items())
        or "none",
        scoring=SCORING[manifest.scoring] if has_text else "none",
        precisions="fp32" if manifest.int8 is None else f"fp32; {_int8(manifest.int8)}",
        data=_data(manifest.provenance),
        metrics=_of_manifest(manifest) if result is None else _of_suite(result),
        maps=map_words(manifest),
        gate=gate_rates(gate),
        provenance="\n".join(f"- {key}: {value}" for key, value in manifest.provenance.items()),
    )


def gate_rates(gate: Gate | None) -> str:
    """Returns what the gate refuses, as a table."""
    if gate is None:
        return (
            "The bundle has no gate, so that only an image's colours and grey levels tell whether "
            "it can be a chest radiograph."
        )
    rows = [("upright validation images", gate.refused), *gate.detected.items()]
    table = _table(("image", "refused"), ((kind, f"{rate:.3f}") for kind, rate in rows))
    return (
        f"The gate looks at the layout of an image, and refuses a score of {gate.threshold:.0f} or "
        f"more{'' if gate.decides else ' (it only warns: it is not accurate enough)'}. Its "
        f"balanced accuracy is {gate.accuracy:.3f}, on {gate.images} validation images that it was "
        f"not fitted on and on others made for it. Other patients' images may differ.\n\n{table}"
    )


def map_words(manifest: Manifest) -> str:
    """Returns which maps may be shown, and what each was measured to be worth."""
    if not manifest.maps:
        return "The image tower yields no map."
    rows = [
        (kind, *_worth(manifest.map_quality[kind]))
        if kind in manifest.map_quality
        else (kind, "never measured", "", "", "", "no")
        for kind in manifest.maps
    ]
    head = ("map", "against", "studies", "pointing game", "pixel AUC", "validated")
    return (
        "`attention` is where the tower looked, `text` is what speaks for a text. A map is "
        "validated if it beats a Gaussian in the middle of the image in both measures, by more "
        "than the 95 % interval over patients. **Show no reader a map that is not validated.** A "
        "validated map still misses findings, and says nothing about the rest of the image.\n\n"
        f"{_table(head, rows)}"
    )


def _worth(quality: MapQuality) -> tuple[str, ...]:
    measures = (
        f"{each.value:.3f} ({each.low:.3f} – {each.high:.3f}), centre {each.centre_prior:.3f}"
        for each in (quality.pointing_game, quality.pixel_auc)
    )
    validated = "yes" if quality.validated else "no"
    return quality.against, str(quality.studies), *measures, validated


def _front_matter(manifest: Manifest) -> str:
    facts: dict[str, Any] = {
        "license": manifest.provenance.get("license", "unknown"),
        "library_name": "onnx",
        "pipeline_tag": "zero-shot-image-classification"
        if manifest.has_text
        else "image-feature-extraction",
        "tags": list(TAGS if manifest.has_text else TAGS_OF_IMAGES),
    }
    if metrics := sorted(set(_metric_ids(manifest.metrics))):
        facts["metrics"] = metrics
    return yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)


def _metric_ids(metrics: Iterable[str]) -> Iterable[str]:
    for name in metrics:
        measure = name.removeprefix("validation/")
        yield from (hub for begin, hub in METRIC_IDS.items() if measure.startswith(begin))


def _data(provenance: Mapping[str, Any]) -> str:
    """Returns what the model was trained on, as far as its provenance says."""
    lines = []
    if (weights := provenance.get("pretrained")) is not None:
        lines.append(
            f"It began with the weights `{weights}` of `{provenance.get('open_clip_model')}`; see "
            "their own card for what they were trained on."
        )
    match provenance:
        case {"data": str() as data}:
            lines.append(f"Training data: {data}.")
        case {"recipe": {"data": {"source": "phantom", "train": train}}}:
            lines.append(f"Training data: {train} synthetic phantoms.")
        case {"recipe": {"data": {"path": path}}}:
            lines.append(f"Training data: the studies of `{path}`, which its owner can describe.")
        case {"transformers_model": model, "transformers_class": kind}:
            lines.append(f"The model is `{model}`, a {kind} of transformers; see its own card.")
        case _ if not lines:
            lines.append(
                f"The model is open_clip's `{provenance.get('open_clip_model')}`; see its own card."
            )
    return "\n\n".join(lines)


def _of_manifest(manifest: Manifest) -> str:
    """Returns the manifest's metrics as a table."""
    if not manifest.metrics:
        return "Nothing was measured at export."
    rows = ((key, f"{value:.4g}") for key, value in sorted(manifest.metrics.items()))
    return _table(("measure", "value"), rows)


def _of_suite(result: Result) -> str:
    """Returns the suite's numbers, those of labels in tables of their own, and its notes."""
    parts = [", ".join(f"{name}: {value}" for name, value in result.about.items())]
    values = ((k, *e.cells()) for s in result.sections.values() for k, e in s.values.items())
    parts.append(_table(("measure", *COLUMNS), values))
    for section in result.sections.values():
        if section.by_label:
            names = tuple(dict.fromkeys(n for row in section.by_label.values() for n in row))
            rows = (
                (label, *(row[name].cells()[0] if name in row else "" for name in names))
                for label, row in section.by_label.items()
            )
            parts.append(_table(("label", *names), rows))
    parts += [f"- {name}: {n}" for name, s in result.sections.items() for n in s.notes]
    return "\n\n".join(parts)


def _int8(change: Int8) -> str:
    maps = "".join(
        f", {kind} maps differ by {each.difference:.1%} and have {each.same_peak:.3f} of their "
        "maxima at the same patch"
        for kind, each in change.maps.items()
    )
    has_text = change.golden.text is not None
    decisions = f" and {change.decisions:.4f} of the decisions" if has_text else ""
    return (
        f"int8 (of {change.studies} validation studies {change.overlap_at_10:.3f} of the ten "
        f"nearest{decisions} are those of fp32{maps})"
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (head, ("---",) * len(head), *rows)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
