"""Renders a phantom from a config and an index."""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from training.data.phantom.anatomy import draw_chest
from training.data.phantom.canvas import Frame, Mask, draw_pose
from training.data.phantom.distractors import DISTRACTORS, corner_marker
from training.data.phantom.exposure import expose, stack_layers
from training.data.phantom.findings import PhantomFinding
from training.data.phantom.gaze import draw_gaze
from training.data.phantom.lesions import LESIONS
from training.data.phantom.plan import draw_findings, draw_marker
from training.data.phantom.report import write_report
from training.data.phantom.scanpath import draw_scanpath
from training.data.study import Gaze, ManifestStudy

Reader = Literal["simulated", "measured"]
"""simulated: surveys the film evenly. measured: moves as a real radiologist did."""


@dataclass(frozen=True)
class PhantomConfig:
    """What a phantom data set depends on.

    size: pixels a side. seed: the data set. normal: share of studies without findings.
    distractors: chance of each kind of unreported distractor. contrast: multiplies the density of
    local findings. shortcut: chance that a corner marker agrees with the presence of
    `SHORTCUT_LABEL`; None draws no marker. reader: whose gaze a study carries; images, masks and
    reports are the same for both.
    """

    size: int = 256
    seed: int = 0
    normal: float = 0.3
    distractors: float = 0.25
    contrast: float = 1.0
    shortcut: float | None = None
    reader: Reader = "simulated"


@dataclass(frozen=True)
class Phantom:
    """A rendered phantom.

    image: uint8[H, W], bright = dense. lesions: bool[F, H, W], one mask a local finding, in the
    order of `local_findings`.
    """

    image: npt.NDArray[np.uint8]
    study: ManifestStudy
    findings: tuple[PhantomFinding, ...]
    lesions: Mask
    gaze: Gaze

    @property
    def local_findings(self) -> tuple[PhantomFinding, ...]:
        """The findings that occupy a zone."""
        return tuple(finding for finding in self.findings if finding.zone is not None)


def phantom(config: PhantomConfig, index: int) -> Phantom:
    """Renders patient `index` of the data set, from the config and the index alone."""
    streams = [
        np.random.Generator(np.random.PCG64(child))
        for child in np.random.SeedSequence([config.seed, index]).spawn(8)
    ]
    plan, habitus, anatomy, pathology, devices, reader, noise, scan = streams
    findings = draw_findings(plan, config.normal)
    distractors = tuple(name for name in DISTRACTORS if plan.random() < config.distractors)
    marker = draw_marker(plan, findings, config.shortcut)
    pose = draw_pose(habitus)
    frame = Frame.of(config.size, pose)
    chest = draw_chest(frame, anatomy, findings)
    lesions = [
        LESIONS[finding.label](chest, finding, pathology, config.contrast) for finding in findings
    ]
    density = stack_layers(chest, lesions)
    for name in distractors:
        density += DISTRACTORS[name](chest, devices)
    if marker:
        density += corner_marker(frame)
    gaze = draw_gaze(reader, findings, pose)  # always: the report is drawn from what it leaves
    if config.reader == "measured":
        gaze = draw_scanpath(scan, findings, pose)
    study = ManifestStudy(
        study_id=f"phantom-{config.seed}-{index}",
        patient_id=f"phantom-{config.seed}-{index}",
        source="phantom",
        images=(f"images/phantom-{config.seed}-{index}.png",),
        report=write_report(reader, findings),
        view="PA",
        findings=tuple(finding.label for finding in findings),
        gaze=(gaze,),
        metadata={"distractors": ", ".join(distractors), "shortcut": marker},
    )
    masks = [lesion.mask for lesion in lesions if lesion.mask is not None]
    return Phantom(
        image=expose(density, habitus, noise),
        study=study,
        findings=findings,
        lesions=np.stack(masks) if masks else np.zeros((0, config.size, config.size), bool),
        gaze=gaze,
    )


def fingerprint(config: PhantomConfig, count: int = 4) -> str:
    """Returns the sha256 of the first phantoms: pixels, masks, reports and gaze rounded to 1e-9.

    NumPy promises stable bit streams but not stable distributions; a new fingerprint under a new
    NumPy means new phantoms.
    """
    digest = hashlib.sha256()
    for index in range(count):
        drawn = phantom(config, index)
        digest.update(drawn.image.tobytes())
        digest.update(np.packbits(drawn.lesions).tobytes())
        digest.update(drawn.study.report.encode())
        digest.update(np.round([drawn.gaze.x, drawn.gaze.y, drawn.gaze.duration], 9).tobytes())
    return digest.hexdigest()
