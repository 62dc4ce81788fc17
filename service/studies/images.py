"""Reads the images that a study names, in the folder of its manifest or in its tar."""

from pathlib import Path

from service.errors import StudyInvalid
from service.studies.tars import read_member

TAR = ".tar"


def place_of_images(source: Path) -> Path:
    """Returns where a source's images lie: in itself, or for a manifest in its folder."""
    return source if source.is_dir() or source.suffix.lower() == TAR else source.parent


def read_image(place: Path, name: str, limit: int = -1) -> bytes:
    """Returns the bytes of an image, by the name that its study gives it.

    place: a folder or a tar. limit: how many bytes of the beginning are wanted; -1: all.

    Raises StudyInvalid for a path outside, OSError if there is no such file.
    """
    if place.is_file():
        return read_member(place, name, limit)
    _check_within(place, name)
    return read_file(place, name, limit)


def read_file(folder: Path, name: str, limit: int = -1) -> bytes:
    """Returns the bytes of a file in a folder, like `read_image`, wherever a link leads to."""
    with (folder / name).open("rb") as file:
        return file.read(limit)


def _check_within(folder: Path, name: str) -> None:
    try:
        path = (folder / name).resolve()
    except ValueError:
        raise StudyInvalid(
            "An image path holds a character that paths cannot have. Correct it."
        ) from None
    if not path.is_relative_to(folder.resolve()):
        raise StudyInvalid(
            "An image path leaves the manifest's folder. Use a path relative to that folder."
        )
