"""Synthetic frontal chest radiographs with findings, a report and a reader's gaze.

Anatomy lives in body coordinates: u to the image right (the patient's left) with the midline at 0,
v downwards from 0 at the neck to 1 below the diaphragm. A pose places the body in the unit square
of the image. Everything random is drawn before or apart from the pixel grid, so that a patient
looks the same at every size. Density is float64 throughout: its rounding to uint8 then does not
hang on the last bits of a BLAS.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from training.data.study import Gaze, Study

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Severity = Literal["mild", "moderate", "severe"]

LABELS: tuple[str, ...] = (
    "atelectasis",
    "cardiomegaly",
    "consolidation",
    "fibrosis",
    "nodule",
    "pleural effusion",
    "pneumothorax",
    "pulmonary edema",
)
GLOBAL: frozenset[str] = frozenset({"cardiomegaly", "pulmonary edema"})
SEVERITIES: tuple[Severity, ...] = ("mild", "moderate", "severe")
SHORTCUT_LABEL = "pneumothorax"

_SIDES = {"right": -1.0, "left": 1.0}
_LEVELS = {"upper": 0.28, "mid": 0.45, "lower": 0.62}
_ZONES = tuple(f"{side} {level}" for side in _SIDES for level in _LEVELS)
_LEVELS_OF = {
    "atelectasis": ("mid", "lower"),
    "pleural effusion": ("lower",),
    "pneumothorax": ("upper",),
}


@dataclass(frozen=True)
class PhantomConfig:
    """What a phantom data set depends on.

    size: pixels a side. seed: the data set. normal: share of studies without findings.
    distractors: chance of each kind of unreported distractor. contrast: multiplies the density of
    local findings. shortcut: chance that a corner marker agrees with the presence of
    `SHORTCUT_LABEL`; None draws no marker.
    """

    size: int = 256
    seed: int = 0
    normal: float = 0.3
    distractors: float = 0.25
    contrast: float = 1.0
    shortcut: float | None = None


@dataclass(frozen=True)
class Finding:
    """A reported finding; `zone` is such as "right upper", or None where it is global.

    u, v and reach_u, reach_v are its centre and half-extent in body coordinates.
    """

    label: str
    severity: Severity
    zone: str | None
    u: float
    v: float
    reach_u: float
    reach_v: float

    @property
    def side(self) -> float:
        """-1 on the patient's right (the image left), 1 on the left."""
        return float(np.sign(self.u))


@dataclass(frozen=True)
class Phantom:
    """A rendered phantom.

    image: uint8[H, W], bright = dense. lesions: bool[F, H, W], one mask a local finding, in the
    order of `local_findings`.
    """

    image: npt.NDArray[np.uint8]
    study: Study
    findings: tuple[Finding, ...]
    lesions: Mask
    gaze: Gaze

    @property
    def local_findings(self) -> tuple[Finding, ...]:
        """The findings that occupy a zone."""
        return tuple(finding for finding in self.findings if finding.zone is not None)


def phantom(config: PhantomConfig, index: int) -> Phantom:
    """Render patient `index` of the data set; nothing but the config and the index matters."""
    streams = [
        np.random.Generator(np.random.PCG64(child))
        for child in np.random.SeedSequence([config.seed, index]).spawn(7)
    ]
    plan, habitus, anatomy, pathology, devices, reader, noise = streams
    findings = _plan(plan, config.normal)
    distractors = tuple(name for name in _DISTRACTORS if plan.random() < config.distractors)
    marker = _marker(plan, findings, config.shortcut)
    pose = _pose(habitus)
    frame = _frame(config.size, pose)
    chest = _chest(frame, anatomy, findings)
    lesions = [
        _LESIONS[finding.label](chest, finding, pathology, config.contrast) for finding in findings
    ]
    density = _density(chest, lesions)
    for name in distractors:
        density += _DISTRACTORS[name](chest, devices)
    if marker:
        density += _corner_marker(frame)
    gaze = _gaze(reader, findings, pose)
    study = Study(
        study_id=f"phantom-{config.seed}-{index}",
        patient_id=f"phantom-{config.seed}-{index}",
        source="phantom",
        images=(f"images/phantom-{config.seed}-{index}.png",),
        report=_report(reader, findings),
        view="PA",
        findings=tuple(finding.label for finding in findings),
        gaze=gaze,
        metadata={"distractors": ", ".join(distractors), "shortcut": marker},
    )
    masks = [lesion.mask for lesion in lesions if lesion.mask is not None]
    return Phantom(
        image=_expose(density, habitus, noise),
        study=study,
        findings=findings,
        lesions=np.stack(masks) if masks else np.zeros((0, config.size, config.size), bool),
        gaze=gaze,
    )


def fingerprint(config: PhantomConfig, count: int = 4) -> str:
    """Return the sha256 of the first phantoms: pixels, masks, reports and gaze rounded to 1e-9.

    NumPy promises stable bit streams but not stable distributions; a new fingerprint under a new
    NumPy means new phantoms.
    """
    digest = hashlib.sha256()
    for index in range(count):
        one = phantom(config, index)
        digest.update(one.image.tobytes())
        digest.update(np.packbits(one.lesions).tobytes())
        digest.update(one.study.report.encode())
        digest.update(np.round([one.gaze.x, one.gaze.y, one.gaze.duration], 9).tobytes())
    return digest.hexdigest()


# ── What the patient has ──────────────────────────────────────────────────────────────────────


def _plan(rng: np.random.Generator, normal: float) -> tuple[Finding, ...]:
    """Draw no finding, or one to three of distinct labels in distinct zones."""
    if rng.random() < normal:
        return ()
    labels = rng.choice(LABELS, size=rng.choice([1, 2, 3], p=[0.5, 0.32, 0.18]), replace=False)
    free = list(_ZONES)
    findings = []
    for label in sorted(map(str, labels), key=lambda label: (label not in _LEVELS_OF, label)):
        severity = SEVERITIES[rng.integers(3)]
        zone = None if label in GLOBAL else str(rng.choice(_possible_zones(label, free)))
        if zone is not None:
            free.remove(zone)
        findings.append(_place(rng, label, severity, zone))
    return tuple(findings)


def _possible_zones(label: str, free: list[str]) -> list[str]:
    levels = _LEVELS_OF.get(label, tuple(_LEVELS))
    return [zone for zone in free if zone.split()[1] in levels]


def _place(rng: np.random.Generator, label: str, severity: Severity, zone: str | None) -> Finding:
    grade = SEVERITIES.index(severity)
    if zone is None:
        where = {"cardiomegaly": (0.05, 0.64, 0.15, 0.10), "pulmonary edema": (0.0, 0.46, 0.2, 0.1)}
        return Finding(label, severity, None, *where[label])
    side, level = _SIDES[zone.split()[0]], zone.split()[1]
    u, v = {"upper": 0.18, "mid": 0.21, "lower": 0.235}[level], _LEVELS[level]
    drift_u, drift_v, stretch = rng.uniform(-1.0, 1.0, 3)
    size = (1.0 + 0.15 * stretch) * (0.92, 1.04, 1.18)[grade]
    match label:
        case "pleural effusion":
            u, v, reach = 0.25, 0.69 - 0.035 * grade, (0.08, 0.06 + 0.025 * grade)
        case "pneumothorax":
            u, v, reach = 0.21, 0.20, (0.09, 0.07)
        case _:
            u, v = u + 0.025 * drift_u, v + 0.025 * drift_v
            reach = {
                "atelectasis": (0.12, 0.08),
                "consolidation": (0.12, 0.105),
                "fibrosis": (0.12, 0.11),
                "nodule": (0.062, 0.062),
            }[label]
    return Finding(label, severity, zone, side * u, v, size * reach[0], size * reach[1])


def _marker(
    rng: np.random.Generator, findings: tuple[Finding, ...], shortcut: float | None
) -> bool:
    agrees = rng.random()
    if shortcut is None:
        return False
    present = any(finding.label == SHORTCUT_LABEL for finding in findings)
    return present if agrees < shortcut else not present


# ── The canvas ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Pose:
    """Body → image: image = matrix @ (body - centre of the body) + centre."""

    matrix: Array
    centre: Array

    def to_image(self, points: Array) -> Array:
        return np.asarray((points - _BODY_CENTRE) @ self.matrix.T + self.centre)

    def to_body(self, points: Array) -> Array:
        return np.asarray((points - self.centre) @ np.linalg.inv(self.matrix).T + _BODY_CENTRE)


_BODY_CENTRE = np.array([0.0, 0.5])


def _pose(rng: np.random.Generator) -> _Pose:
    """Draw habitus (width and height), rotation, tilt and shift."""
    width, height = rng.uniform(0.93, 1.1), rng.uniform(0.93, 1.06)
    angle, tilt = rng.normal(0.0, 0.03), rng.normal(0.0, 0.02)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.array([[width, tilt], [0.0, height]])
    return _Pose(turn @ shear, np.array([0.5, 0.5]) + rng.normal(0.0, 0.012, 2))


@dataclass(frozen=True)
class _Frame:
    """The pixel grid: pixel centres along an axis, float64[N], and as body u, v: float64[N, N]."""

    axis: Array
    pose: _Pose
    u: Array
    v: Array

    @property
    def blur(self) -> float:
        """Standard deviation of a pixel's aperture, in image widths."""
        return 0.4 / len(self.axis)

    def dots(self, points: Array, sigma: Array | float, weight: Array | float) -> Array:
        """Sum Gaussians of peak `weight` at body `points` [K, 2], blurred by the pixel's aperture.

        A Gaussian is separable, so the sum over K is one matrix product.
        """
        centres = self.pose.to_image(points)
        sharp = np.broadcast_to(sigma, len(points))
        soft = np.hypot(sharp, self.blur)
        columns, rows = (
            np.exp(-0.5 * ((self.axis - centre[:, None]) / soft[:, None]) ** 2)
            for centre in centres.T
        )
        peak = weight * (sharp / soft) ** 2
        return np.asarray((rows * peak[:, None]).T @ columns)

    def line(self, points: Array, width: float, weight: float) -> Array:
        """Draw a polyline through body `points` with a Gaussian profile of peak `weight`."""
        steps = np.hypot(*np.diff(points, axis=0).T)
        along = np.concatenate([[0.0], np.cumsum(steps)])
        count = max(2, int(np.ceil(along[-1] / (1.2 * width))) + 1)
        at = np.linspace(0.0, along[-1], count)
        path = np.stack([np.interp(at, along, points[:, axis]) for axis in (0, 1)], axis=1)
        spacing = along[-1] / (count - 1)
        return self.dots(path, width, weight * spacing / (width * np.sqrt(2.0 * np.pi)))

    def texture(self, rng: np.random.Generator, cells: int) -> Array:
        """Smooth noise of zero mean and unit variance, with `cells` cells along the image."""
        knots = (np.arange(cells + 4) - 1.5) / cells
        weights = np.exp(-0.5 * ((self.axis[:, None] - knots) * cells / 0.7) ** 2)
        weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
        grid = rng.standard_normal((cells + 4, cells + 4))
        return np.asarray(weights @ grid @ weights.T)

    def disc(self, u: float, v: float, reach_u: float, reach_v: float, angle: float = 0.0) -> Array:
        """Elliptic radius: 0 at the centre, 1 on the rim."""
        du, dv = self.u - u, self.v - v
        cos, sin = np.cos(angle), np.sin(angle)
        along, across = (du * cos + dv * sin) / reach_u, (dv * cos - du * sin) / reach_v
        return np.asarray(np.sqrt(along**2 + across**2))


def _frame(size: int, pose: _Pose) -> _Frame:
    axis = (np.arange(size) + 0.5) / size
    origin, right, down = pose.to_body(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    u, v = (
        origin[k] + (right - origin)[k] * axis + (down - origin)[k] * axis[:, None] for k in (0, 1)
    )
    return _Frame(axis, pose, u, v)


def _inside(distance: Array, softness: float) -> Array:
    """Soft step: 1 where the signed distance is positive, 0 where it is negative."""
    return np.asarray(0.5 + 0.5 * np.tanh(distance / softness))


# ── Anatomy ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Chest:
    """Layers of a chest, each float64[H, W] and in [0, 1] unless said otherwise.

    lungs: the pleural spaces; air: what of them the heart and mediastinum leave uncovered;
    silhouette: heart and mediastinum; bones and vessels: density.
    """

    frame: _Frame
    shape: _Shape
    outline: Array
    lungs: Array
    air: Array
    silhouette: Array
    bones: Array
    vessels: Array
    tissue: Array


@dataclass(frozen=True)
class _Shape:
    """The drawn proportions of a thorax, in body coordinates."""

    apex: float
    cage: float
    dome_right: float
    dome_left: float
    heart: float
    shoulder: float
    bone: float

    def lateral(self, v: Array, apex: float = 0.0, inset: Array | float = 0.0) -> Array:
        """Half-width of the pleural space at height v, its apex lowered and its wall inset."""
        rise = np.clip((0.66 - v) / (0.66 - self.apex - apex), 0.0, 1.0)
        return np.asarray(
            0.125 + (self.cage - 0.125 - inset) * np.sqrt(1.0 - rise**2 * np.sqrt(rise))
        )

    def medial(self, v: Array, apex: float = 0.0) -> Array:
        """Distance of the medial pleura from the midline."""
        rise = np.clip((0.66 - v) / (0.66 - self.apex - apex), 0.0, 1.0)
        return np.asarray(0.125 - 0.085 * np.sqrt(1.0 - (rise**2) ** 2 * rise**2))

    def floor(self, u: Array) -> Array:
        """Height of the diaphragm: a dome that falls to the costophrenic angle."""
        dome = np.where(u < 0.0, self.dome_right, self.dome_left)
        out = (np.abs(u) - 0.15) / (self.cage - 0.15)
        return np.asarray(dome + np.where(out > 0.0, 0.12 * out**2, 0.03 * out**2))

    def depth(self, frame: _Frame) -> Array:
        """Signed distance into the pleural space from its walls."""
        r = np.abs(frame.u)
        walls = np.minimum(self.lateral(frame.v) - r, r - self.medial(frame.v))
        apex = 0.6 * (frame.v - self.apex)
        return np.minimum(np.minimum(walls, apex), self.floor(frame.u) - frame.v)


def _chest(frame: _Frame, rng: np.random.Generator, findings: tuple[Finding, ...]) -> _Chest:
    grades = {finding.label: SEVERITIES.index(finding.severity) for finding in findings}
    enlarged = grades.get("cardiomegaly")
    congested = grades.get("pulmonary edema")
    dome = rng.uniform(0.70, 0.745)
    shape = _Shape(
        apex=rng.uniform(0.105, 0.13),
        cage=rng.uniform(0.325, 0.35),
        dome_right=dome,
        dome_left=dome + rng.uniform(0.02, 0.045),
        heart=rng.uniform(0.92, 1.06) * (1.0 if enlarged is None else (1.32, 1.45, 1.6)[enlarged]),
        shoulder=rng.uniform(0.40, 0.46),
        bone=rng.uniform(0.75, 1.25),
    )
    lungs = _inside(shape.depth(frame), 0.008)
    silhouette = _silhouette(frame, shape, rng)
    congestion = 1.0 if congested is None else 1.1 + 0.1 * congested
    return _Chest(
        frame=frame,
        shape=shape,
        outline=_outline(frame, shape),
        lungs=lungs,
        air=lungs * (1.0 - silhouette),
        silhouette=silhouette,
        bones=_bones(frame, shape, rng),
        vessels=congestion * _vessels(frame, rng),
        tissue=_tissue(frame, shape, rng),
    )


def _outline(frame: _Frame, shape: _Shape) -> Array:
    """Neck, shoulders and flanks against the dark air outside."""
    wide = shape.shoulder
    contour = np.array(
        [
            [-0.2, 0.10], [0.0, 0.105], [0.05, 0.15], [0.075, 0.30], [0.12, wide],
            [0.20, wide + 0.04], [0.36, wide + 0.02], [0.55, wide - 0.02], [0.80, wide - 0.01],
            [1.2, wide + 0.02],
        ]
    )  # fmt: skip
    heights, widths = _curve(contour).T
    return _inside(np.interp(frame.v, heights, widths) - np.abs(frame.u), 0.01)


def _silhouette(frame: _Frame, shape: _Shape, rng: np.random.Generator) -> Array:
    """Heart, great vessels and superior mediastinum."""
    heart, sway = shape.heart, rng.normal(0.0, 0.006, 4)
    left_ventricle = (0.05 * heart, 0.655, 0.163 * heart, 0.080 + 0.022 * heart, 0.66)
    right_atrium = (-0.025 * heart, 0.635 + sway[1], 0.068 * heart, 0.135, 0.0)
    aortic_knob = (0.048 + sway[2], 0.295, 0.044, 0.045, 0.0)
    pulmonary_trunk = (0.04 + sway[3], 0.43, 0.05, 0.10, -0.3)
    edges = [0.05 + sway[0] + 0.15 * np.clip(0.25 - frame.v, 0.0, 0.2) - np.abs(frame.u)]
    for ellipse in (left_ventricle, right_atrium, aortic_knob, pulmonary_trunk):
        edges.append((1.0 - frame.disc(*ellipse)) * min(ellipse[2:4]))
    return _inside(_blend(edges, 0.012), 0.009)


def _blend(edges: list[Array], radius: float) -> Array:
    """Union of shapes by signed distance, its inner corners filleted."""
    top = np.maximum.reduce(edges)
    return np.asarray(top + radius * np.log(sum(np.exp((edge - top) / radius) for edge in edges)))


def _bones(frame: _Frame, shape: _Shape, rng: np.random.Generator) -> Array:
    """Ribs, clavicles, shoulders and spine."""
    return shape.bone * (
        _ribs(frame, shape, rng)
        + _clavicles(frame, rng)
        + _shoulders(frame, shape)
        + _spine(frame, rng)
    )


def _ribs(frame: _Frame, shape: _Shape, rng: np.random.Generator) -> Array:
    """Posterior ribs arch over the lung, anterior ribs hang below: two periodic warps of v."""
    r = np.abs(frame.u)
    wall = shape.lateral(frame.v) + 0.018
    arch = np.sqrt(np.clip(1.0 - (r / wall) ** 2, 0.0, 1.0))
    cage = _inside(wall - r, 0.008) * _inside(frame.v - shape.apex, 0.02)
    pitch = rng.uniform(0.076, 0.086)
    start = rng.uniform(0.0, 1.0)
    posterior = _bands((frame.v + 0.10 * arch - 0.08 * r) / pitch + start)
    anterior = _bands((frame.v - 0.10 * arch + 0.34 * r) / (1.12 * pitch) + start)
    reach = _inside(r - 0.13, 0.03)
    fade = _inside(0.86 - frame.v, 0.08)
    return fade * cage * (0.095 * posterior + 0.05 * reach * anterior)


def _bands(phase: Array) -> Array:
    """Bright bands a period of the phase, a third of it wide, with brighter cortical edges."""
    wave = np.cos(2.0 * np.pi * phase)
    band = _inside(wave - 0.35, 0.25)
    return np.asarray(band * (1.0 - 0.3 * (np.clip(wave, 0.0, 1.0) ** 2) ** 2))


def _clavicles(frame: _Frame, rng: np.random.Generator) -> Array:
    sag = rng.normal(0.0, 0.008)
    path = np.array([[0.03, 0.205], [0.08, 0.20], [0.16, 0.17 + sag], [0.26, 0.13], [0.37, 0.11]])
    smooth = _curve(path)
    return sum(
        (frame.line(smooth * [side, 1.0], 0.0105, 0.16) for side in _SIDES.values()),
        start=np.zeros_like(frame.u),
    )


def _curve(points: Array) -> Array:
    """Round the corners of a polyline twice (Chaikin)."""
    for _ in range(2):
        quarter = 0.75 * points[:-1] + 0.25 * points[1:]
        three = 0.25 * points[:-1] + 0.75 * points[1:]
        inner = np.stack([quarter, three], axis=1).reshape(-1, 2)
        points = np.concatenate([points[:1], inner, points[-1:]])
    return points


def _shoulders(frame: _Frame, shape: _Shape) -> Array:
    """Humeral heads, and the scapulae beside the lungs."""
    density = np.zeros_like(frame.u)
    for side in _SIDES.values():
        head = frame.disc(side * shape.shoulder, 0.135, 0.045, 0.045)
        blade = np.array([[0.37, 0.16], [0.345, 0.24], [0.355, 0.33], [0.38, 0.40]])
        density += 0.09 * _inside(1.0 - head, 0.25)
        density += frame.line(_curve(blade) * [side, 1.0], 0.014, 0.05)
    return density


def _spine(frame: _Frame, rng: np.random.Generator) -> Array:
    """Vertebral bodies parted by discs, with spinous processes on the midline."""
    discs = np.cos(2.0 * np.pi * (frame.v / 0.058 + rng.random()))
    column = _inside(0.036 - np.abs(frame.u), 0.008)
    process = np.exp(-0.5 * (frame.u / 0.006) ** 2) * _inside(-discs - 0.3, 0.4)
    return column * (0.035 + 0.018 * discs) + 0.015 * process


def _vessels(frame: _Frame, rng: np.random.Generator) -> Array:
    """Pulmonary vessels that branch from both hila and taper towards the pleura."""
    points, widths, weights = [], [], []
    for side in _SIDES.values():
        tip = np.tile([side * 0.07, 0.435 - 0.012 * side], (5, 1))
        angle = np.linspace(-1.3, 1.4, 5) + rng.normal(0.0, 0.16, 5)
        width = 0.0085
        for length in (0.075, 0.062, 0.055, 0.045):
            bend = rng.normal(0.0, 0.25, len(angle))
            t = np.linspace(1.0 / 6.0, 1.0, 6)[:, None]
            heading = angle + bend * t
            reach = t * length * rng.uniform(0.75, 1.25, len(angle))
            u = tip[:, 0] + side * reach * np.cos(heading)
            v = tip[:, 1] + reach * np.sin(heading)
            points.append(np.stack([u, v], axis=-1).reshape(-1, 2))
            widths.append(np.full(u.size, width))
            weights.append(np.full(u.size, 0.04 + 4.4 * width))
            tip = np.repeat(np.stack([u[-1], v[-1]], axis=-1), 2, axis=0)
            fork = np.tile([-1.0, 1.0], len(angle)) * rng.uniform(0.15, 0.6, 2 * len(angle))
            angle = np.repeat(heading[-1], 2) + fork
            width *= 0.66
    hila = np.array([[-0.085, 0.44], [0.085, 0.42]])
    return frame.dots(np.concatenate(points), np.concatenate(widths), np.concatenate(weights)) + (
        frame.dots(hila, 0.03, 0.07)
    )


def _tissue(frame: _Frame, shape: _Shape, rng: np.random.Generator) -> Array:
    """Soft tissue over everything: breasts or pectorals, fat, airway, stomach bubble, mottle."""
    breast = rng.uniform(0.0, 0.09)
    density = 0.03 * frame.texture(rng, 5) + 0.012 * frame.texture(rng, 45)
    for side in _SIDES.values():
        density += breast * _inside(1.0 - frame.disc(side * 0.21, 0.60, 0.15, 0.13), 0.35)
    airway = np.array([[-0.002, -0.1], [-0.006, 0.30], [-0.008, 0.38]])
    density -= frame.line(airway, 0.014, 0.17)
    for side, drop in ((-1.0, 0.43), (1.0, 0.44)):
        density -= frame.line(np.array([[-0.008, 0.38], [side * 0.075, drop]]), 0.009, 0.07)
    bubble = frame.disc(rng.uniform(0.12, 0.19), shape.dome_left + 0.06, 0.05, 0.028)
    return density - rng.uniform(0.0, 0.16) * _inside(1.0 - bubble, 0.3)


# ── Findings ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Lesion:
    """What a finding adds to the density, and the share of vessels it leaves visible."""

    density: Array
    mask: Mask | None
    vessels: Array | None = None


def _strength(finding: Finding) -> float:
    return {"mild": 0.8, "moderate": 1.0, "severe": 1.2}[finding.severity]


def _patch(chest: _Chest, finding: Finding, rng: np.random.Generator, ragged: float) -> Array:
    """Distance into a ragged ellipse: 1 at its centre, 0 on its rim."""
    radius = chest.frame.disc(finding.u, finding.v, finding.reach_u, finding.reach_v)
    return 1.0 - radius + ragged * chest.frame.texture(rng, 14)


def _consolidation(
    chest: _Chest, finding: Finding, rng: np.random.Generator, contrast: float
) -> _Lesion:
    """A fuzzy patch, mottled, with dark bronchi running through it."""
    patch = _inside(_patch(chest, finding, rng, 0.22), 0.28)
    mottle = 1.0 + 0.16 * chest.frame.texture(rng, 30)
    bronchi = _bronchi(chest.frame, finding, rng)
    fill = patch * mottle * (1.0 - np.minimum(bronchi, 0.4))
    density = 0.25 * contrast * _strength(finding) * chest.air * fill
    return _Lesion(density, _mask(patch, chest), 1.0 - 0.7 * patch)


def _bronchi(frame: _Frame, finding: Finding, rng: np.random.Generator) -> Array:
    """Air-filled bronchi that fork away from the hilum."""
    angle = np.arctan2(finding.v - 0.43, finding.u) + rng.normal(0.0, 0.2)
    fork = np.array([finding.u, finding.v]) - 0.03 * np.array([np.cos(angle), np.sin(angle)])
    density = np.zeros_like(frame.u)
    for turn, length in ((np.pi, 0.035), (-0.45, 0.08), (0.35, 0.085)):
        end = fork + length * np.array([np.cos(angle + turn), np.sin(angle + turn)])
        density += frame.line(np.stack([fork, end]), 0.0035, 0.5)
    return density


def _nodule(chest: _Chest, finding: Finding, rng: np.random.Generator, contrast: float) -> _Lesion:
    """A round, well-defined opacity."""
    ball = _inside(_patch(chest, finding, rng, 0.05), 0.2)
    return _Lesion(0.24 * contrast * _strength(finding) * chest.air * ball, _mask(ball, chest))


def _atelectasis(
    chest: _Chest, finding: Finding, rng: np.random.Generator, contrast: float
) -> _Lesion:
    """Plates: two or three roughly horizontal bands, in a little haze of lost volume."""
    slope = finding.side * rng.uniform(-0.1, 0.35)
    t = np.linspace(-1.0, 1.0, 9)
    bands = np.zeros_like(chest.air)
    for offset in np.linspace(-0.55, 0.55, int(rng.integers(2, 4))):
        length = finding.reach_u * rng.uniform(0.75, 1.0)
        rise = slope * t * length + 0.15 * length * t**2
        path = np.stack([finding.u + t * length, finding.v + offset * finding.reach_v + rise], 1)
        bands += chest.frame.line(path, 0.009, 1.0)
    haze = _inside(_patch(chest, finding, rng, 0.1), 0.3)
    density = contrast * _strength(finding) * chest.air * (0.21 * np.minimum(bands, 1.2))
    return _Lesion(density + 0.04 * contrast * chest.air * haze, _mask(haze, chest))


def _fibrosis(
    chest: _Chest, finding: Finding, rng: np.random.Generator, contrast: float
) -> _Lesion:
    """A reticular net: the zero crossings of a fine texture."""
    patch = _inside(_patch(chest, finding, rng, 0.15), 0.3)
    net = sum(np.exp(-((chest.frame.texture(rng, cells) / 0.4) ** 2)) for cells in (40, 58))
    fill = patch * (0.15 * net + 0.02)
    return _Lesion(contrast * _strength(finding) * chest.air * fill, _mask(patch, chest))


def _effusion(
    chest: _Chest, finding: Finding, _rng: np.random.Generator, contrast: float
) -> _Lesion:
    """Fluid that climbs the lateral wall as a meniscus and blunts the costophrenic angle."""
    frame, shape = chest.frame, chest.shape
    out = np.clip((np.abs(frame.u) - 0.06) / (shape.cage - 0.06), 0.0, 1.1)
    level = finding.v + 0.04 - 0.17 * out**4
    fluid = _inside(frame.v - level, 0.018) * (frame.u * finding.side > 0.0)
    density = min(0.44, 0.38 * contrast * _strength(finding)) * chest.air * fluid
    return _Lesion(density, _mask(fluid, chest), 1.0 - fluid)


def _pneumothorax(
    chest: _Chest, finding: Finding, _rng: np.random.Generator, contrast: float
) -> _Lesion:
    """A dark apical crescent without vessels, bounded by the white visceral pleura."""
    frame, shape = chest.frame, chest.shape
    gap = 0.07 + 0.025 * SEVERITIES.index(finding.severity)
    taper = np.clip((0.50 - frame.v) / 0.2, 0.0, 1.0)
    r = np.abs(frame.u)
    inset = 0.75 * gap * taper * (3.0 - 2.0 * taper) * taper
    drop = 0.9 * gap
    collapsed = np.minimum(shape.lateral(frame.v, drop, inset) - r, r - shape.medial(frame.v, drop))
    collapsed = np.minimum(collapsed, 0.6 * (frame.v - shape.apex - drop))
    beside = (frame.u * finding.side > 0.0) & (frame.v < 0.5)
    crescent = _inside(-collapsed, 0.006) * beside * chest.lungs
    pleura = np.exp(-0.5 * (collapsed / np.hypot(0.004, frame.blur)) ** 2) * beside * chest.air
    pleura *= 0.004 / np.hypot(0.004, frame.blur) * (taper > 0.0)
    density = contrast * (0.16 * pleura - 0.10 * _strength(finding) * crescent * chest.air)
    return _Lesion(density, _mask(crescent, chest), 1.0 - crescent)


def _cardiomegaly(
    chest: _Chest, _finding: Finding, _rng: np.random.Generator, _contrast: float
) -> _Lesion:
    """Nothing to add: the silhouette was drawn wide."""
    return _Lesion(np.zeros_like(chest.air), None)


def _edema(chest: _Chest, finding: Finding, rng: np.random.Generator, _contrast: float) -> _Lesion:
    """Bilateral perihilar haze, with septal lines at the bases."""
    frame = chest.frame
    wings = np.array([[-0.15, 0.44], [0.15, 0.43], [-0.17, 0.56], [0.18, 0.55]])
    haze = frame.dots(wings, 0.09, 0.13) * (1.0 + 0.15 * frame.texture(rng, 18))
    septa = np.zeros_like(haze)
    for side in _SIDES.values():
        for v in rng.uniform(0.60, 0.75, 5):
            outer = np.array([side * (chest.shape.cage - 0.008), v])
            septa += frame.line(np.stack([outer, outer - [side * 0.035, 0.0]]), 0.003, 0.09)
    return _Lesion(_strength(finding) * chest.air * (haze + septa + 0.02), None)


def _mask(shape: Array, chest: _Chest) -> Mask:
    return (shape > 0.5) & (chest.air > 0.5)


_LESIONS = {
    "atelectasis": _atelectasis,
    "cardiomegaly": _cardiomegaly,
    "consolidation": _consolidation,
    "fibrosis": _fibrosis,
    "nodule": _nodule,
    "pleural effusion": _effusion,
    "pneumothorax": _pneumothorax,
    "pulmonary edema": _edema,
}


# ── Distractors, which no report mentions ─────────────────────────────────────────────────────


def _central_line(chest: _Chest, rng: np.random.Generator) -> Array:
    end = rng.uniform(0.40, 0.48)
    path = np.array([[-0.30, 0.10], [-0.20, 0.16], [-0.09, 0.20], [-0.045, 0.27], [-0.04, end]])
    return chest.frame.line(_curve(path), 0.004, 0.24)


def _ecg_leads(chest: _Chest, rng: np.random.Generator) -> Array:
    density = np.zeros_like(chest.air)
    for u, v in ((-0.27, 0.20), (0.28, 0.21), (0.27, 0.66)):
        pad = np.array([u, v]) + rng.normal(0.0, 0.015, 2)
        wire = np.array([pad, pad * [0.9, 1.0] + [0.03, 0.15], [rng.normal(0.1, 0.1), 1.1]])
        density += chest.frame.line(_curve(wire), 0.003, 0.18)
        density += 0.25 * _inside(1.0 - chest.frame.disc(pad[0], pad[1], 0.014, 0.014), 0.3)
    return density


def _pacemaker(chest: _Chest, rng: np.random.Generator) -> Array:
    u, v = 0.25 + rng.normal(0.0, 0.015), 0.215 + rng.normal(0.0, 0.012)
    du, dv = (chest.frame.u - u) / 0.045, (chest.frame.v - v) / 0.038
    box = _inside(1.0 - np.sqrt(np.sqrt((du**2) ** 2 + (dv**2) ** 2)), 0.1)
    lead = np.array([[u, v], [0.14, 0.19], [0.03, 0.22], [-0.035, 0.40], [-0.02, 0.60], [0.1, 0.7]])
    return 0.42 * box + chest.frame.line(_curve(lead), 0.004, 0.26)


def _side_marker(chest: _Chest, rng: np.random.Generator) -> Array:
    """A lead letter L beside the patient's left shoulder."""
    corner = chest.frame.pose.to_body(np.array([0.93, rng.uniform(0.05, 0.12)]))
    letter = corner + np.array([[-0.018, -0.03], [-0.018, 0.03], [0.018, 0.03]])
    return chest.frame.line(letter, 0.006, 0.7)


def _nipple_shadow(chest: _Chest, rng: np.random.Generator) -> Array:
    """Paired, so that a reader knows it from a nodule."""
    v = 0.645 + rng.normal(0.0, 0.01)
    nipples = np.array([[-0.205, v], [0.225, v]])
    return chest.air * chest.frame.dots(nipples, 0.017, 0.17)


def _skin_fold(chest: _Chest, rng: np.random.Generator) -> Array:
    """An edge like a pleural line, but lung markings run on beyond it."""
    side = float(rng.choice([-1.0, 1.0]))
    u, v = chest.frame.u * side, chest.frame.v
    across = 0.24 + 0.25 * (v - 0.5) + rng.normal(0.0, 0.015) - u
    along = _inside(v - 0.30, 0.08) * _inside(0.62 - v, 0.08)
    fade = np.exp(-np.clip(across, 0.0, None) / 0.035)
    return 0.10 * chest.air * _inside(across, 0.005) * fade * along


def _corner_marker(frame: _Frame) -> Array:
    """The shortcut: a lead square in the lower corner of the film."""
    across = _inside(0.022 - np.abs(frame.axis - 0.05), 0.004)
    down = _inside(0.022 - np.abs(frame.axis - 0.95), 0.004)
    return 0.5 * np.outer(down, across)


_DISTRACTORS = {
    "central line": _central_line,
    "ECG leads": _ecg_leads,
    "nipple shadow": _nipple_shadow,
    "pacemaker": _pacemaker,
    "side marker": _side_marker,
    "skin fold": _skin_fold,
}


# ── The image ─────────────────────────────────────────────────────────────────────────────────


def _density(chest: _Chest, lesions: list[_Lesion]) -> Array:
    """Stack the layers that the beam crosses."""
    vessels = chest.vessels * chest.air
    for lesion in lesions:
        if lesion.vessels is not None:
            vessels = vessels * lesion.vessels
    abdomen = _inside(chest.frame.v - chest.shape.floor(chest.frame.u), 0.008)
    water = 1.0 - (1.0 - chest.silhouette) * (1.0 - abdomen)
    flesh = 0.50 + 0.13 * water + (1.0 - 0.5 * water) * chest.bones + chest.tissue
    density = chest.outline * (flesh - 0.33 * chest.air + vessels)
    for lesion in lesions:
        density += lesion.density
    return np.asarray(density)


def _expose(
    density: Array, habitus: np.random.Generator, noise: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Window the density at a random exposure, with quantum noise that a larger pixel averages."""
    gain, offset = habitus.uniform(1.0, 1.25), habitus.uniform(0.0, 0.06)
    gamma = habitus.uniform(0.85, 1.2)
    grain = habitus.uniform(0.004, 0.012) * len(density) / 128.0
    noisy = gain * (density - offset) + grain * noise.standard_normal(density.shape)
    return np.round(255.0 * np.clip(noisy, 0.0, 1.0) ** gamma).astype(np.uint8)


# ── The reader's gaze ─────────────────────────────────────────────────────────────────────────

_SURVEY = np.array(
    [
        [0.00, 0.08], [0.00, 0.22], [-0.36, 0.14], [-0.18, 0.19], [-0.16, 0.33], [-0.25, 0.42],
        [-0.12, 0.46], [-0.22, 0.58], [-0.40, 0.55], [-0.27, 0.72], [-0.18, 0.86], [-0.08, 0.66],
        [0.00, 0.82], [0.05, 0.60], [0.14, 0.68], [0.17, 0.87], [0.28, 0.72], [0.40, 0.55],
        [0.24, 0.58], [0.12, 0.45], [0.25, 0.41], [0.17, 0.32], [0.18, 0.19], [0.36, 0.14],
        [0.04, 0.34], [0.02, 0.48],
    ]
)  # fmt: skip


def _gaze(rng: np.random.Generator, findings: tuple[Finding, ...], pose: _Pose) -> Gaze:
    """Survey the film; at some moments dwell on each finding, for 60–75 % of the time in all."""
    drift = rng.normal(0.0, 0.045, 2)
    survey = _SURVEY + rng.normal(0.0, 0.03, _SURVEY.shape)
    points, times = [survey], [np.linspace(0.0, 1.0, len(survey))]
    weights = [rng.gamma(1.5, 1.0, len(survey))]
    share = rng.uniform(0.6, 0.75) if findings else 0.0
    weights[0] *= (1.0 - share) / weights[0].sum()
    emphasis = rng.dirichlet(np.full(len(findings), 3.0)) if findings else ()
    for finding, part in zip(findings, emphasis, strict=True):
        visits = _visits(rng, finding)
        dwell = rng.gamma(2.0, 1.0, len(visits))
        points.append(visits)
        times.append(rng.uniform(0.1, 0.9) + np.linspace(0.0, 0.04, len(visits)))
        weights.append(dwell * part * share / dwell.sum())
    order = np.argsort(np.concatenate(times))
    x, y = np.clip(pose.to_image(np.concatenate(points)[order] + drift), 0.0, 1.0).T
    total = rng.uniform(6_000.0, 14_000.0)
    duration = total * np.concatenate(weights)[order]
    return Gaze(tuple(x.tolist()), tuple(y.tolist()), tuple(duration.tolist()))


def _visits(rng: np.random.Generator, finding: Finding) -> Array:
    """Fixations scattered over a finding, or in one case of seven around a place beside it."""
    count = int(rng.integers(6, 12))
    reach = np.array([finding.reach_u, finding.reach_v])
    scatter = np.hypot(0.4 * reach, 0.05) * rng.standard_normal((count, 2))
    stray = (rng.random() < 1.0 / 7.0) * rng.normal(0.0, 0.16, 2)
    return np.array([finding.u, finding.v]) + scatter + stray


# ── The report ────────────────────────────────────────────────────────────────────────────────

_SIZES = {"mild": "small", "moderate": "moderate", "severe": "large"}
_NODULE_SIZES = {"mild": "small", "moderate": "medium-sized", "severe": "large"}
_DEGREES = {"mild": "mild", "moderate": "moderate", "severe": "severe"}
_WORDS_OF_DEGREE = {
    "nodule": _NODULE_SIZES,
    "pleural effusion": _SIZES,
    "pneumothorax": _SIZES,
}

_OBSERVATIONS: dict[str, tuple[str, ...]] = {
    "atelectasis": (
        "There is {degree} plate-like atelectasis in the {zone}.",
        "Linear bands of {degree} atelectasis cross the {zone}.",
        "{Degree} subsegmental atelectasis is seen in the {zone}.",
        "Streaky opacities in the {zone} represent {degree} atelectasis.",
    ),
    "cardiomegaly": (
        "There is {degree} cardiomegaly.",
        "The cardiac silhouette is enlarged, in keeping with {degree} cardiomegaly.",
        "{Degree} cardiomegaly is present.",
        "The heart is enlarged with {degree} cardiomegaly.",
    ),
    "consolidation": (
        "There is {degree} consolidation in the {zone}.",
        "{Degree} airspace consolidation is seen in the {zone}.",
        "A patchy opacity with air bronchograms in the {zone} represents {degree} consolidation.",
        "The {zone} shows {degree} focal consolidation.",
    ),
    "fibrosis": (
        "There is {degree} interstitial fibrosis in the {zone}.",
        "Coarse reticular opacities in the {zone} indicate {degree} fibrosis.",
        "{Degree} fibrosis with a reticular pattern is seen in the {zone}.",
        "The {zone} shows {degree} reticular fibrosis.",
    ),
    "nodule": (
        "There is a {degree} nodule in the {zone}.",
        "A {degree} round nodule projects over the {zone}.",
        "A well-circumscribed {degree} nodule is seen in the {zone}.",
        "The {zone} contains a {degree} pulmonary nodule.",
    ),
    "pleural effusion": (
        "There is a {degree} {side} pleural effusion.",
        "A {degree} {side} pleural effusion blunts the costophrenic angle.",
        "{Degree} pleural effusion is present in the {zone}.",
        "A {degree} pleural effusion layers at the {side} base.",
    ),
    "pneumothorax": (
        "There is a {degree} {side} apical pneumothorax.",
        "A {degree} pneumothorax is seen in the {zone}.",
        "A visceral pleural line in the {zone} marks a {degree} pneumothorax.",
        "{Degree} {side} pneumothorax is present at the apex.",
    ),
    "pulmonary edema": (
        "There is {degree} pulmonary edema.",
        "Bilateral perihilar haze is consistent with {degree} pulmonary edema.",
        "{Degree} pulmonary edema with vascular congestion is present.",
        "Hazy perihilar opacities and septal lines indicate {degree} pulmonary edema.",
    ),
}

_CONCLUSIONS = {
    "atelectasis": "{degree} {zone} atelectasis",
    "cardiomegaly": "{degree} cardiomegaly",
    "consolidation": "{degree} {zone} consolidation",
    "fibrosis": "{degree} {zone} fibrosis",
    "nodule": "{degree} {zone} nodule",
    "pleural effusion": "{degree} {side} pleural effusion",
    "pneumothorax": "{degree} {side} pneumothorax",
    "pulmonary edema": "{degree} pulmonary edema",
}

_NEGATED = {
    "atelectasis": "atelectasis",
    "cardiomegaly": "cardiomegaly",
    "consolidation": "focal consolidation",
    "fibrosis": "interstitial fibrosis",
    "nodule": "pulmonary nodule",
    "pleural effusion": "pleural effusion",
    "pneumothorax": "pneumothorax",
    "pulmonary edema": "pulmonary edema",
}
_NEGATIONS = ("No {noun}.", "There is no {noun}.", "No evidence of {noun}.", "No {noun} is seen.")

_OPENINGS = (
    "Single frontal view of the chest.",
    "PA radiograph of the chest.",
    "The lungs are adequately inflated.",
    "The trachea is midline.",
)
_UNREMARKABLE = (
    "The mediastinal contours are within normal limits.",
    "The osseous structures are intact.",
    "The visualized upper abdomen is unremarkable.",
    "The bony thorax is unremarkable.",
)
_CLEAR = (
    "The lungs are clear.",
    "The lungs are clear bilaterally.",
    "Both lungs are well aerated without focal abnormality.",
)
_NO_DISEASE = (
    "No acute cardiopulmonary process.",
    "Normal chest radiograph.",
    "No acute cardiopulmonary abnormality.",
    "No radiographic evidence of acute disease.",
)


def _report(rng: np.random.Generator, findings: tuple[Finding, ...]) -> str:
    """Write FINDINGS (boilerplate, observations, negations) and an IMPRESSION."""
    sentences = [_pick(rng, _OPENINGS)] if rng.random() < 0.6 else []
    sentences += [_observation(rng, finding) for finding in findings] or [_pick(rng, _CLEAR)]
    sentences += _negations(rng, {finding.label for finding in findings})
    if rng.random() < 0.6:
        sentences.append(_pick(rng, _UNREMARKABLE))
    impression = _impression(findings) if findings else _pick(rng, _NO_DISEASE)
    return f"FINDINGS: {' '.join(sentences)} IMPRESSION: {impression}"


def _pick(rng: np.random.Generator, phrases: tuple[str, ...]) -> str:
    return phrases[rng.integers(len(phrases))]


def _observation(rng: np.random.Generator, finding: Finding) -> str:
    return _say(_pick(rng, _OBSERVATIONS[finding.label]), finding, _pick(rng, _ZONE_NOUNS))


_ZONE_NOUNS = ("lung zone", "zone", "lung")


def _say(template: str, finding: Finding, noun: str) -> str:
    """Fill a template with the finding's degree, side and zone."""
    degree = _WORDS_OF_DEGREE.get(finding.label, _DEGREES)[finding.severity]
    zone = finding.zone or ""
    return template.format(
        degree=degree,
        Degree=degree.capitalize(),
        side=zone.partition(" ")[0],
        zone=f"{zone} {noun}",
    )


def _negations(rng: np.random.Generator, present: set[str]) -> list[str]:
    """Deny one to four absent findings in one or two sentences."""
    absent = [label for label in LABELS if label not in present]
    denied = [_NEGATED[str(label)] for label in rng.permutation(absent)[: rng.integers(1, 5)]]
    together = len(denied) if len(denied) < 4 else 2
    groups = [denied[:together], denied[together:]]
    return [_deny(rng, group) for group in groups if group]


def _deny(rng: np.random.Generator, nouns: list[str]) -> str:
    listed = nouns[0] if len(nouns) == 1 else f"{', '.join(nouns[:-1])} or {nouns[-1]}"
    return _pick(rng, _NEGATIONS).format(noun=listed)


def _impression(findings: tuple[Finding, ...]) -> str:
    phrases = [_say(_CONCLUSIONS[finding.label], finding, "lung") for finding in findings]
    text = phrases[0] if len(phrases) == 1 else f"{', '.join(phrases[:-1])} and {phrases[-1]}"
    return f"{text[0].upper()}{text[1:]}."


def _present_prompts(label: str) -> list[str]:
    """Every observation of a moderate finding in every zone where it can be."""
    zones = (None,) if label in GLOBAL else _possible_zones(label, list(_ZONES))
    return list(
        dict.fromkeys(
            _say(template, Finding(label, "moderate", zone, 0.0, 0.0, 0.0, 0.0), "lung zone")
            for template in _OBSERVATIONS[label]
            for zone in zones
        )
    )


PROMPTS: dict[str, dict[str, list[str]]] = {
    label: {
        "present": _present_prompts(label),
        "absent": [template.format(noun=_NEGATED[label]) for template in _NEGATIONS],
    }
    for label in LABELS
}
