"""Remembers which images had a draft, so that some of them sent again have no draft of their own.

A study that is sent again whole has the draft that it had, under the same UID. A part of it would
have another UID, and a second draft in the PACS. This is kept in memory, until a restart.
"""

from collections import OrderedDict
from collections.abc import Iterable

MOST_STUDIES = 10_000
"""Studies that are remembered. Beyond them the one that had its draft first is forgotten."""
_MOST_GROUPS = 8
"""Drafts of one study that are remembered."""


class Answered:
    """The images that had drafts, by their study. Not thread-safe."""

    def __init__(self) -> None:
        self._studies: OrderedDict[str, list[frozenset[str]]] = OrderedDict()

    def add(self, study_uid: str, instance_uids: Iterable[str]) -> None:
        """Remembers that these images of a study had one draft."""
        groups = self._studies.setdefault(study_uid, [])
        groups.append(frozenset(instance_uids))
        del groups[:-_MOST_GROUPS]
        if len(self._studies) > MOST_STUDIES:
            self._studies.popitem(last=False)

    def has_more_than(self, study_uid: str, instance_uids: Iterable[str]) -> bool:
        """Tells whether one draft was about all of these images, and about others too."""
        asked = frozenset(instance_uids)
        return any(asked < group for group in self._studies.get(study_uid, ()))
