"""Keeps a rendition of every stored image: a JPEG on disk, for people to look at."""

import errno
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from service.cases.notes import Note, left_notes, noted
from service.cases.schema import Study
from service.disk import Reserve
from service.files import disk_errors, make_folder, probe, remove_drafts, write_atomically
from service.imaging.deidentify import StudyRef
from service.imaging.radiograph import Radiograph

RENDITION_SIDE = 1024
"""Pixels of the longer side of a rendition, at most."""
RENDITION_QUALITY = 90
"""JPEG quality, 1 to 95."""
WRITERS = 8
"""JPEGs that are written at a time. A disk syncs eight in little more time than one."""
State = Literal["whole", "missing", "damaged"]
_WHAT = "the renditions"


@dataclass(frozen=True, slots=True)
class Renditions:
    """The folder of one library's renditions. Two studies never share a file.

    reserve: bytes that a write leaves on the disk (see `service.disk.Reserve`). What the disk
    refuses raises StoreUnavailable, or StoreFull where it has no room.
    """

    folder: Path
    reserve: int = 0

    def read(self, name: str) -> bytes:
        """Returns the JPEG of this name. Raises FileNotFoundError if it alone is missing."""
        with disk_errors(_WHAT):
            self.folder.stat()
            try:
                return self._path(name).read_bytes()
            except FileNotFoundError:
                pass
        raise FileNotFoundError(errno.ENOENT)

    def write(self, name: str, jpeg: bytes) -> None:
        """Writes a JPEG under its name, unless it is there: the name follows from its bytes."""
        with disk_errors(_WHAT):
            if not self._path(name).exists():
                self.check_room()
                write_atomically(self._path(name), jpeg)

    def write_all(self, jpegs: Mapping[str, bytes]) -> None:
        """Writes JPEGs, name → bytes, as `write` does, several at a time."""
        with ThreadPoolExecutor(WRITERS, thread_name_prefix="rendition") as pool:
            for _ in pool.map(self.write, jpegs.keys(), jpegs.values()):
                pass

    def remove(self, names: Iterable[str]) -> None:
        """Removes the JPEGs of these names, as far as they exist."""
        with disk_errors(_WHAT):
            for name in names:
                self._path(name).unlink(missing_ok=True)

    def remove_drafts(self, names: Iterable[str]) -> None:
        """Removes what killed processes wrote of the JPEGs of these names. Nobody writes them."""
        for name in names:
            remove_drafts(self._path(name))

    @contextmanager
    def exchanging(
        self, studies: Iterable[StudyRef], old: Set[str], new: Set[str]
    ) -> Iterator[None]:
        """Removes the JPEGs that only the old versions of studies name, at the block's end.

        If the block raises, it removes those that only the new versions name. A process that is
        killed leaves a note, and `left_over` finds what it is about. Without room nothing is done.
        """
        if new - old:
            self.check_room()
        note = Note(sorted(studies), sorted(old | new))
        with disk_errors(_WHAT), noted(self._notes, note):
            try:
                yield
            except BaseException:
                self.remove(new - old)
                raise
            self.remove(old - new)

    def left_over(self) -> Iterator[Note]:
        """Yields what killed processes were exchanging. A note is dropped once it is dealt with."""
        yield from left_notes(self._notes)

    def all_names(self) -> Iterator[str]:
        """Yields the names of all JPEGs."""
        return (path.stem for path in self.folder.glob("??/*.jpg"))

    def state(self, reference: StudyRef, name: str) -> State:
        """Reads a study's JPEG of this name, and decodes it unless it is missing or changed."""
        try:
            jpeg = self._path(name).read_bytes()
        except FileNotFoundError:
            return "missing"
        except OSError:
            return "damaged"
        return "whole" if name == name_of(reference, jpeg) and _decodes(jpeg) else "damaged"

    def has_all_of(self, study: Study) -> bool:
        """Tells whether every image of the study has its JPEG."""
        with disk_errors(_WHAT):
            return all(self._path(name).is_file() for name in names_of(study))

    def check(self) -> None:
        """Raises StoreUnavailable if no JPEG can be written."""
        with disk_errors(_WHAT):
            make_folder(self.folder)
            probe(self.folder)

    def check_room(self) -> None:
        """Raises StoreFull while no JPEG can be written for lack of room."""
        Reserve(self.folder, self.reserve).require()

    @property
    def _notes(self) -> Path:
        return self.folder / "notes"

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / f"{name}.jpg"


def names_of(study: Study) -> set[str]:
    """Returns the names of the study's renditions."""
    return {image.rendition for image in study.images}


def name_of(reference: StudyRef, jpeg: bytes) -> str:
    """Returns the name of a study's JPEG: a sha256 of both."""
    return hashlib.sha256(reference.encode() + jpeg).hexdigest()


def _decodes(jpeg: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
            image.load()
    except (OSError, ValueError, SyntaxError):  # as Pillow's decoders raise them
        return False
    return True


def to_jpeg(radiograph: Radiograph) -> bytes:
    """Returns a reduced radiograph, uint8[H,W], as JPEG without metadata."""
    jpeg = io.BytesIO()
    Image.fromarray(radiograph.pixels).save(jpeg, format="JPEG", quality=RENDITION_QUALITY)
    return jpeg.getvalue()
