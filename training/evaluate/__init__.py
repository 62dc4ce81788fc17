"""Measures an embedding: one module a measure, and the suite that runs them on a bundle or run."""

from typing import Literal

MEASURES = ("zero_shot", "linear_probe", "retrieval", "geometry", "reports", "maps")
"""Names of the measures, in the order of a report."""

PromptMean = Literal["unit", "plain"]
"""What becomes of the mean of a label's prompt vectors.

- `unit`: it is scaled to unit length, as the service and CLIP do. The score is a cosine.
- `plain`: it is left as it is, as eCLIP's authors do. The score is the mean of the cosines.

Prompts that disagree have a short mean. So labels, and present and absent prompts, compare
differently. The order of images by one label's present prompts is the same.
"""
