"""MODEL_CARD.md: what a person should know before using a bundle."""

from collections.abc import Iterable

from service.bundle.labels import LabelSets
from service.bundle.manifest import Int8, Manifest
from training.evaluate.result import COLUMNS, Result

TEMPLATE = """# {name} {version}

A contrastive image–text encoder for chest radiographs. **Not a medical device**: research use only.

| | |
|---|---|
| embedding | {dimension} dimensions, unit length |
| image | {height}×{width} grayscale, fit `{fit}` |
| text | {context_length} tokens |
| patch embeddings | {patches} |
| label sets | {label_sets} |
| precisions | {precisions} |

## Measured

{metrics}

## How it was made

{provenance}

## Limits

It has seen only the data named above. Probabilities hold for that data's prevalence and exposure;
without calibration they are raw softmax values. Validate on your own patients before relying on
anything it says.
"""


def model_card(manifest: Manifest, label_sets: LabelSets, result: Result | None = None) -> str:
    """Markdown text from the manifest's own facts, and what the suite measured of the bundle."""
    if result is not None:
        measured = _of_suite(result)
    elif manifest.metrics:
        rows = ((key, f"{value:.4g}") for key, value in sorted(manifest.metrics.items()))
        measured = _table(("measure", "value"), rows)
    else:
        measured = "Nothing was measured at export."
    return TEMPLATE.format(
        name=manifest.name,
        version=manifest.version,
        dimension=manifest.dimension,
        height=manifest.image.height,
        width=manifest.image.width,
        fit=manifest.image.fit,
        context_length=manifest.context_length,
        patches="×".join(map(str, manifest.patch_grid)) if manifest.patch_grid else "none",
        label_sets=", ".join(f"`{name}` ({len(s)})" for name, s in label_sets.root.items()),
        precisions="fp32" if manifest.int8 is None else f"fp32; {_int8(manifest.int8)}",
        metrics=measured,
        provenance="\n".join(f"- {key}: {value}" for key, value in manifest.provenance.items()),
    )


def _of_suite(result: Result) -> str:
    """The suite's numbers, those of labels in a table of their own, and what it left out."""
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
    return (
        f"int8 (of {change.studies} validation studies {change.overlap_at_10:.3f} of the ten "
        f"nearest and {change.decisions:.4f} of the calls are those of fp32)"
    )


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (head, ("---",) * len(head), *rows)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
