"""Reads the images that a study names, in the folder of its manifest or in its tar."""

import os
from collections.abc import Callable
from pathlib import Path

from service.errors import StudyInvalid
from service.studies.tars import read_member

TAR = ".tar"
ReadImage = Callable[[Path, str, int], bytes]
"""Reads an image of a place by its name: `read_image` or `read_within`."""


def place_of_images(source: Path) -> Path:
    """Returns where a source's images lie: in itself, or for a manifest in its folder."""
    return source if source.is_dir() or source.suffix.lower() == TAR else source.parent


def read_image(place: Path, name: str, limit: int = -1) -> bytes:
    """Returns the bytes of an image, by the name that its study gives it.

    place: a folder or a tar. limit: how many bytes of the beginning are wanted; -1: all.

    Raises StudyInvalid for what cannot be a path, OSError if there is no such file.
    """
    if place.is_file():
        return read_member(place, name, limit)
    try:
        return read_file(place, name, limit)
    except ValueError:
        raise StudyInvalid(
            "An image path holds a character that paths cannot have. Correct it."
        ) from None


def read_within(place: Path, name: str, limit: int = -1) -> bytes:
    """Returns the bytes of an image, like `read_image`, if its path stays in the folder.

    Links in the folder may lead elsewhere: whoever made the folder made them. Raises StudyInvalid
    for a path outside, so that a manifest of others cannot have other files stored.
    """
    return read_image(place, name if place.is_file() else _path_within(place, name), limit)


def read_file(folder: Path, name: str, limit: int = -1) -> bytes:
    """Returns the bytes of a file in a folder, like `read_image`, wherever a link leads to."""
    with (folder / name).open("rb") as file:
        return file.read(limit)


def _path_within(folder: Path, name: str) -> str:
    path = Path(os.path.normpath(name))  # not resolved: it may be a link
    if path.is_absolute():
        within = any(path.is_relative_to(known) for known in (folder.absolute(), folder.resolve()))
    else:
        within = path.parts[:1] != ("..",)
    if not within:
        raise StudyInvalid(
            "An image path leaves the manifest's folder. Use a path relative to that folder."
        )
    return str(path)
