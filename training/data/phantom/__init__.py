"""Draws phantoms: synthetic frontal chest radiographs with findings, a report and gaze.

Everything random is drawn independently of the pixel grid, so a patient looks the same at every
size. Density is float64 throughout, so that its rounding to uint8 does not depend on the last bits
of a BLAS.
"""

from training.data.phantom.findings import GLOBAL, LABELS, SEVERITIES, PhantomFinding
from training.data.phantom.plan import SHORTCUT_LABEL
from training.data.phantom.render import Phantom, PhantomConfig, Reader, fingerprint, phantom
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
    "Reader",
    "fingerprint",
    "phantom",
]
