"""Makes the maps of a report's findings, in the frontal view of its study."""

from collections.abc import Callable, Sequence

from service.deadline import Deadline
from service.imaging.lungs import Box, lung_fields
from service.imaging.radiograph import RadiographFacts, high_bytes
from service.inference.encoder import EncodedImage
from service.inference.gate import FRONTAL
from service.inference.maps import Mapper, caution
from service.inference.zero_shot import Classifier
from service.reporting.regions import Pointing

SIDE = 256
"""Pixels of the longer side in which the lung fields are looked for."""


def pointing_in(
    read: Callable[[int], bytes],
    images: Sequence[EncodedImage],
    mapper: Mapper,
    classifier: Classifier | None,
    deadline: Deadline,
) -> Pointing | None:
    """Returns the maps of the classifier's findings in the frontal view of one study.

    read: returns the file of the view of a number; at most one is read. images: what the views were
    encoded to. Returns None if the bundle's map of texts is not validated, it has no label set, or
    no view is known to be frontal.

    Raises DeadlineExceeded or QueueFull: the view passes the image tower once more.
    """
    manifest = mapper.manifest
    view = _frontal([image.facts for image in images])
    if classifier is None or view is None:
        return None
    if "text" not in manifest.maps or caution(manifest, "text") is not None:
        return None
    findings = classifier.stated
    maps = mapper.of_vectors(read(view), list(findings.values()), deadline, SIDE)
    width, height, part = maps.radiograph.columns, maps.radiograph.rows, maps.part
    return Pointing(
        view=view,
        part=Box(part.left / width, part.top / height, part.width / width, part.height / height),
        lungs=lung_fields(high_bytes(maps.radiograph.pixels)),
        maps=dict(zip(findings, maps.texts, strict=True)),
    )


def _frontal(views: Sequence[RadiographFacts]) -> int | None:
    """Returns the first view that its file calls frontal, else the only one if it is not named.

    A view that may be no upright chest radiograph does not count.
    """
    names = [None if facts.doubts else facts.view or "not named" for facts in views]
    named = next((place for place, name in enumerate(names) if name in FRONTAL - {None}), None)
    return 0 if names == ["not named"] else named
