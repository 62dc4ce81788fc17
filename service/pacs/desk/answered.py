"""Remembers which images had a draft, so that some of them sent again have no draft of their own.

A study that is sent again whole has the draft that it had, under the same UID. A part of it would
have another UID, and a second draft in the PACS. A restart remembers too: `answered.hashes` has one
line a draft, of keyed hashes alone.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from service.files import disk_errors, write_atomically
from service.imaging.deidentify import Pseudonymiser
from service.reporting.audit import append_line

MOST_STUDIES = 10_000
"""Studies that are remembered. Beyond them the one that had its draft first is forgotten."""
_MOST_GROUPS = 8
"""Drafts of one study that are remembered."""
_MOST_IMAGES = 32
"""Images of a draft that is remembered: more than a study of radiographs has."""
_WHAT = "the list of images that had a draft"


class Answered:
    """The images that had drafts, by their study. Thread-safe.

    file: what was remembered before is read from it. Lines that cannot be read are passed over.
    Raises StoreUnavailable.
    """

    def __init__(self, file: Path, pseudonyms: Pseudonymiser) -> None:
        self._file, self._hash = file, pseudonyms.text
        self._studies: OrderedDict[str, list[frozenset[str]]] = OrderedDict()
        self._changing, self._lines = threading.Lock(), 0
        with disk_errors(_WHAT):
            for line in file.read_bytes().splitlines() if file.exists() else ():
                with suppress(ValueError, TypeError):
                    self._remember(*json.loads(line))
            self._shorten()

    def add(self, study_uid: str, instance_uids: Iterable[str]) -> None:
        """Remembers that these images of a study had one draft. Raises StoreUnavailable."""
        study, group = self._hash(study_uid), frozenset(map(self._hash, instance_uids))
        if not 1 < len(group) <= _MOST_IMAGES:
            return
        with self._changing, disk_errors(_WHAT):
            if group not in self._studies.get(study, ()):
                append_line(self._file, json.dumps([study, sorted(group)]).encode())
                self._remember(study, group)
                self._shorten()

    def has_more_than(self, study_uid: str, instance_uids: Iterable[str]) -> bool:
        """Tells whether one draft was about all of these images, and about others too."""
        asked = frozenset(map(self._hash, instance_uids))
        with self._changing:
            return any(asked < group for group in self._studies.get(self._hash(study_uid), ()))

    def _remember(self, study: str, images: Iterable[str]) -> None:
        groups = self._studies.setdefault(study, [])
        groups.append(frozenset(images))
        del groups[:-_MOST_GROUPS]
        if len(self._studies) > MOST_STUDIES:
            self._studies.popitem(last=False)
        self._lines += 1

    def _shorten(self) -> None:
        """Writes the file again, of what is remembered, where it is much longer."""
        groups = [(study, g) for study, several in self._studies.items() for g in several]
        if self._lines > len(groups) + MOST_STUDIES:
            lines = (json.dumps([study, sorted(group)]) + "\n" for study, group in groups)
            write_atomically(self._file, "".join(lines).encode())
            self._lines = len(groups)
