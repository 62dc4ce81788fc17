"""MODEL_CARD.md: what a person should know before using a bundle."""

from service.bundle.labels import LabelSets
from service.bundle.manifest import Manifest

TEMPLATE = """# {name} {version}

A contrastive image–text encoder for chest radiographs. **Not a medical device**: research use only.

| | |
|---|---|
| embedding | {dimension} dimensions, unit length |
| image | {height}×{width} grayscale, fit `{fit}` |
| text | {context_length} tokens |
| patch embeddings | {patches} |
| label sets | {label_sets} |

## Measured

{metrics}

## How it was made

{provenance}

## Limits

It has seen only the data named above. Probabilities hold for that data's prevalence and exposure;
without calibration they are raw softmax values. Validate on your own patients before relying on
anything it says.
"""


def model_card(manifest: Manifest, label_sets: LabelSets) -> str:
    """Markdown text from the manifest's own facts."""
    metrics = [f"| {key} | {value:.4g} |" for key, value in sorted(manifest.metrics.items())]
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
        metrics="\n".join(["| measure | value |", "|---|---|", *metrics])
        if metrics
        else "Nothing was measured at export.",
        provenance="\n".join(f"- {key}: {value}" for key, value in manifest.provenance.items()),
    )
