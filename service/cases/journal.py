"""Remembers the write that is under way in an embedded library, whose points are in several shards.

A study is whole or absent after a crash at any moment, because every write goes in this order:

1. The journal names it, durably.
2. Digests of studies that are being replaced are blanked, and their old parts removed.
3. Parts are written, and their shards' logs synced. Records, which hold the digests, come last.

A study that the journal names, and whose record lacks the digest that the journal says, is thus not
whole: the next opening undoes it. The journal is not cleared, but overwritten by the next write.
"""

import json
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from service.cases.operations import (
    BlankDigest,
    Operation,
    Remove,
    Selection,
    Upsert,
    records_of,
)
from service.cases.points import RECORD
from service.files import sync
from service.imaging.deidentify import StudyRef

_SUM = 8
"""Bytes of the entry's checksum, in hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one write does."""

    written: Mapping[StudyRef, str] = field(default_factory=dict)
    """The digest that each written study has in the end."""
    removed: Selection | None = None
    """Which points a deletion or a repair removes."""

    def remedy(self, stored: Mapping[StudyRef, str]) -> list[Operation]:
        """Returns what makes its studies whole or absent, or marks them by an empty digest.

        stored: the digests of the records that there are.
        """
        if self.removed:
            return [Remove(self.removed)]
        torn = [study for study, digest in self.written.items() if stored.get(study) != digest]
        recorded = [study for study in torn if study in stored]
        unrecorded = [study for study in torn if study not in stored]
        blank = [BlankDigest(records_of(recorded))] if recorded else []
        remove = [Remove(Selection(must={"study_id": unrecorded}))] if unrecorded else []
        return [*blank, *remove]


NOTHING = Entry()


def entry_of(operations: Iterable[Operation]) -> Entry:
    """Returns the entry of a write: either it puts studies, or it removes points."""
    written, removed = dict[StudyRef, str](), None
    for operation in operations:
        match operation:
            case Upsert(points):
                payloads = [point.payload for point in points if point.part == RECORD]
                written = {
                    each["study_id"]: each["digest"] for each in payloads if "digest" in each
                }
            case Remove(selection):
                removed = selection
    return Entry(written) if written else Entry(removed=removed)


class Journal:
    """The file with the entry of the last write, which may be under way."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, entry: Entry) -> None:
        """Writes the entry in the place of the last one. Durable on return. Raises OSError.

        A power cut may leave a half of it: that counts as nothing, since nothing had begun.
        """
        text = json.dumps(asdict(entry)).encode()
        created = not self._path.exists()
        with open(self._path, "wb", opener=_in_place) as file:
            file.write(b"%08x" % zlib.crc32(text) + text)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        if created:
            sync(self._path.parent)

    def read(self) -> Entry:
        """Returns the last entry; NOTHING where there is none that is whole."""
        content = self._path.read_bytes() if self._path.exists() else b""
        checksum, text = content[:_SUM], content[_SUM:]
        if checksum != b"%08x" % zlib.crc32(text):
            return NOTHING
        written, removed = json.loads(text).values()
        return Entry(written, Selection(**removed) if removed else None)


def _in_place(path: str, flags: int) -> int:
    return os.open(path, flags & ~os.O_TRUNC, 0o600)
