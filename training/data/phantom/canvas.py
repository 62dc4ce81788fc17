"""Defines the canvas: a body posed on a grid of pixels, and the brushes that draw on it.

Body coordinates: u to the image right (the patient's left) with the midline at 0, v downwards from
0 at the neck to 1 below the diaphragm. A pose places the body in the unit square of the image.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_BODY_CENTRE = np.array([0.0, 0.5])


@dataclass(frozen=True)
class Pose:
    """Body → image: image = matrix @ (body - centre of the body) + centre."""

    matrix: Array
    centre: Array

    def to_image(self, points: Array) -> Array:
        """Returns body points [..., 2] as x, y in the unit square."""
        return np.asarray((points - _BODY_CENTRE) @ self.matrix.T + self.centre)

    def to_body(self, points: Array) -> Array:
        """Returns points of the unit square [..., 2] in body coordinates."""
        return np.asarray((points - self.centre) @ np.linalg.inv(self.matrix).T + _BODY_CENTRE)


def draw_pose(rng: np.random.Generator) -> Pose:
    """Draws habitus (width and height), rotation, tilt and shift."""
    width, height = rng.uniform(0.93, 1.1), rng.uniform(0.93, 1.06)
    angle, tilt = rng.normal(0.0, 0.03), rng.normal(0.0, 0.02)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.array([[width, tilt], [0.0, height]])
    return Pose(turn @ shear, np.array([0.5, 0.5]) + rng.normal(0.0, 0.012, 2))


@dataclass(frozen=True)
class Frame:
    """The pixel grid: pixel centres along an axis, float64[N], and as body u, v: float64[N, N]."""

    axis: Array
    pose: Pose
    u: Array
    v: Array

    @classmethod
    def of(cls, size: int, pose: Pose) -> Self:
        """Returns the grid of `size` pixels a side over a body in this pose."""
        axis = (np.arange(size) + 0.5) / size
        origin, right, down = pose.to_body(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
        u, v = (
            origin[k] + (right - origin)[k] * axis + (down - origin)[k] * axis[:, None]
            for k in (0, 1)
        )
        return cls(axis, pose, u, v)

    @property
    def blur(self) -> float:
        """Standard deviation of a pixel's aperture, in image widths."""
        return 0.4 / len(self.axis)

    def dots(self, points: Array, sigma: Array | float, weight: Array | float) -> Array:
        """Sums Gaussians of peak `weight` at body `points` [K, 2], blurred by the pixel's aperture.

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
        """Draws a polyline through body `points` with a Gaussian profile of peak `weight`."""
        steps = np.hypot(*np.diff(points, axis=0).T)
        along = np.concatenate([[0.0], np.cumsum(steps)])
        count = max(2, int(np.ceil(along[-1] / (1.2 * width))) + 1)
        at = np.linspace(0.0, along[-1], count)
        path = np.stack([np.interp(at, along, points[:, axis]) for axis in (0, 1)], axis=1)
        spacing = along[-1] / (count - 1)
        return self.dots(path, width, weight * spacing / (width * np.sqrt(2.0 * np.pi)))

    def texture(self, rng: np.random.Generator, cells: int) -> Array:
        """Draws smooth noise of zero mean and unit variance, with `cells` cells along the image."""
        knots = (np.arange(cells + 4) - 1.5) / cells
        weights = np.exp(-0.5 * ((self.axis[:, None] - knots) * cells / 0.7) ** 2)
        weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
        grid = rng.standard_normal((cells + 4, cells + 4))
        return np.asarray(weights @ grid @ weights.T)

    def disc(self, u: float, v: float, reach_u: float, reach_v: float, angle: float = 0.0) -> Array:
        """Returns the elliptic radius: 0 at the centre, 1 on the rim."""
        du, dv = self.u - u, self.v - v
        cos, sin = np.cos(angle), np.sin(angle)
        along, across = (du * cos + dv * sin) / reach_u, (dv * cos - du * sin) / reach_v
        return np.asarray(np.sqrt(along**2 + across**2))


def inside(distance: Array, softness: float) -> Array:
    """Returns a soft step: 1 where the signed distance is positive, 0 where it is negative."""
    return np.asarray(0.5 + 0.5 * np.tanh(distance / softness))


def curve(points: Array) -> Array:
    """Rounds the corners of a polyline twice (Chaikin)."""
    for _ in range(2):
        quarter = 0.75 * points[:-1] + 0.25 * points[1:]
        three = 0.25 * points[:-1] + 0.75 * points[1:]
        inner = np.stack([quarter, three], axis=1).reshape(-1, 2)
        points = np.concatenate([points[:1], inner, points[-1:]])
    return points
