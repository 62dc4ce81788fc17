"""Answers POST /attention: where the model looked in an image, and where a text points."""

import base64
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import Field

from service.api.answers import Answer, BundleName
from service.api.bodies import count_overlay
from service.api.context import Services, Wired, Work
from service.api.inputs import one_image, read_input
from service.api.parameters import Parameters
from service.arrays import FloatArray
from service.auth import reader
from service.bundle.manifest import Manifest
from service.bundle.maps import MapKind, MapQuality
from service.deadline import Deadline
from service.errors import TextInvalid
from service.imaging.overlay import OVERLAY_SIDE, overlay
from service.inference.maps import ImageMaps, caution, check_available, check_drawable

router = APIRouter(tags=["attention"], dependencies=[reader])


class AttentionParameters(Parameters):
    """Parameters of /attention."""

    text: str | None = None
    """What the text's map points at, such as `left pleural effusion`. Without: no such map."""
    overlay: MapKind | bool = False
    """The map to draw over the radiograph. true: the text's if there is a text."""
    accept: Literal["unvalidated"] | None = None
    """Draws a map also if it is not validated, and writes so into the picture."""


class MapOut(Answer):
    """One map, and what is known of it."""

    grid: list[list[float]]
    """Rows from top to bottom, over all of `covers`. Higher is where it points."""
    validated: bool
    """Whether it beat a Gaussian in the middle of the image, in both measures of `quality`."""
    caution: str | None
    """Why it is not validated; null if it is."""
    quality: MapQuality | None
    """What was measured of maps of this kind when the bundle was made; null if nothing was."""


class Covered(Answer):
    """A rectangle in pixels of the radiograph, from its upper left corner.

    It is smaller than the radiograph where the model's input is cropped, and reaches outside where
    it is padded.
    """

    left: float
    top: float
    width: float
    height: float


class WholeRadiograph(Answer):
    """The whole radiograph, turned upright and in square pixels."""

    rows: int
    columns: int
    pixel_spacing_mm: Annotated[tuple[float, float] | None, Field(validation_alias="spacing_mm")]
    """Distance of rows and of columns, on the detector if the file has it; null if it has none."""


class AttentionMaps(Answer):
    """Answer of /attention."""

    bundle: BundleName
    maps: dict[MapKind, MapOut]
    """attention: where the model looked, whatever the text. text: where the text points."""
    covers: Covered
    """What of the radiograph every grid covers."""
    radiograph: WholeRadiograph
    warnings: list[str]
    """Reasons to doubt that the image is an upright chest radiograph."""
    overlay: str | None
    """The whole radiograph with the map, PNG in base64, if the request asks for it."""


@router.post("/attention")
async def attend(request: Request, wired: Wired) -> AttentionMaps:
    """Returns where the model looked in an image, and where the text points."""
    uploads, parameters = await read_input(request, AttentionParameters, max_images=1)
    if parameters.overlay:
        count_overlay(request)
    return await Work(request).run(_attend, wired, one_image(uploads), parameters)


def _attend(
    wired: Services, image: bytes, parameters: AttentionParameters, deadline: Deadline
) -> AttentionMaps:
    manifest = wired.bundle.manifest
    texts = [] if parameters.text is None else [parameters.text]
    check_available(manifest, texts)
    drawn = _drawn(manifest, parameters)
    maps = wired.mapper(image, texts, deadline, OVERLAY_SIDE if drawn else 1)
    grids: dict[MapKind, FloatArray] = {}
    if maps.attention is not None:
        grids["attention"] = maps.attention
    if maps.texts:
        grids["text"] = maps.texts[0]
    return AttentionMaps(
        bundle=BundleName.of(wired.bundle),
        maps={kind: _answered(manifest, kind, grid) for kind, grid in grids.items()},
        covers=Covered.model_validate(maps.part),
        radiograph=WholeRadiograph.model_validate(maps.radiograph),
        warnings=list(maps.radiograph.warnings),
        overlay=drawn and _picture(manifest, maps, drawn, grids[drawn]),
    )


def _drawn(manifest: Manifest, parameters: AttentionParameters) -> MapKind | None:
    """Returns which map to draw. Raises MapUnavailable, MapUnvalidated or TextInvalid."""
    if not parameters.overlay:
        return None
    kind = parameters.overlay
    if kind is True:
        kind = "attention" if parameters.text is None else "text"
    if kind == "text" and parameters.text is None:
        raise TextInvalid("The overlay of a text needs a text. Send `text`, or overlay=attention.")
    check_drawable(manifest, kind, accept_unvalidated=parameters.accept == "unvalidated")
    return kind


def _answered(manifest: Manifest, kind: MapKind, grid: FloatArray) -> MapOut:
    reason = caution(manifest, kind)
    return MapOut(
        grid=grid.tolist(),
        validated=reason is None,
        caution=reason,
        quality=manifest.map_quality.get(kind),
    )


def _picture(manifest: Manifest, maps: ImageMaps, kind: MapKind, grid: FloatArray) -> str:
    """Returns the overlay, PNG in base64."""
    mark = "not validated" if caution(manifest, kind) else None
    return base64.b64encode(overlay(maps.radiograph, maps.part, grid, mark)).decode("ascii")
