"""Synthetic frontal chest radiographs with findings, a report and a reader's gaze.

Everything random is drawn before or apart from the pixel grid, so that a patient looks the same at
every size. Density is float64 throughout: its rounding to uint8 then does not hang on the last bits
of a BLAS.
"""

from training.data.phantom.findings import GLOBAL, LABELS, SEVERITIES, PhantomFinding
from training.data.phantom.plan import SHORTCUT_LABEL
from training.data.phantom.render import Phantom, PhantomConfig, fingerprint, phantom
from training.data.phantom.report import PROMPTS

__all__ = [
    "GLOBAL",
    "LABELS",
    "PROMPTS",
    "SEVERITIES",
    "SHORTCUT_LABEL",
    "Phantom",
    "PhantomConfig",
    "PhantomFinding",
    "fingerprint",
    "phantom",
]
