"""Pulls the studies of an archive into the case library: reads them as if they lay in a folder."""

import json
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from service.cases.ingest import Outcome
from service.cases.sources import Source, source_of
from service.errors import PeerRefused, PeerUnavailable, SourceUnreadable, StudyInvalid
from service.imaging.deidentify import Pseudonymiser, StudyRef
from service.pacs.archive import Archive, ListedStudy, Wanted
from service.pacs.pull.ahead import in_order
from service.pacs.pull.fetching import Fetched, Fetcher
from service.pacs.pull.ledger import Ledger, Pulled
from service.studies.files import OTHERS
from service.studies.sources import Studies, studies_among, unseen
from service.studies.tables import Found

AT_ONCE = 4
"""Studies that are fetched at a time."""
AHEAD = 64
"""Studies that are fetched, or were fetched and wait to be ingested: four batches."""
AHEAD_BYTES = 128 * 2**20
"""Bytes of fetched studies that wait with which no further study is begun."""
MAX_STUDIES = 2_000_000
"""Studies of one run. Their UIDs are held in memory: 0.2 GiB for a million."""
LATE = timedelta(days=3)
"""How long after its StudyDate a study may reach the archive for `--since last` to find it."""
Since = date | Literal["last"] | None


@dataclass(slots=True)
class _Mark:
    """What is known of a study whose entries were given out and whose outcome is awaited."""

    study: StudyRef | None
    content: str
    entries: int
    rejected: bool = False
    passing: bool = False
    """Whether it was rejected for what may pass, so that a later run must try again."""


class Pull:
    """One run: gives the studies that are new or changed, and remembers what became of them.

    Studies are fetched in threads, and in order. A study whose objects cannot all be had is
    rejected. If the archive stays away, the source raises PeerUnavailable.
    """

    def __init__(
        self,
        archive: Archive,
        ledger: Ledger,
        pseudonyms: Pseudonymiser,
        where: Mapping[str, Sequence[str]],
        since: Since,
    ) -> None:
        self._archive, self._ledger = archive, ledger
        self._asked = pseudonyms.text(json.dumps({k: sorted(where[k]) for k in sorted(where)}))
        self._wanted = Wanted(where, self._earliest() if since == "last" else since)
        self._fetcher = Fetcher(archive, ledger, pseudonyms)
        self._began, self._complete, self._number = datetime.now(UTC), True, 0
        self._listed: list[ListedStudy] = []
        self._awaited: deque[_Mark] = deque()
        self._fetched: Generator[Fetched, None, None] | None = None

    def list_studies(self, looked: Callable[[], None] = unseen) -> int:
        """Asks for the studies and returns their number. Raises PeerUnavailable and PeerRefused.

        looked: called after each study that is listed.
        """
        for study in self._archive.studies(self._wanted):
            self._listed.append(study)
            looked()
            if len(self._listed) > MAX_STUDIES:
                raise SourceUnreadable(
                    f"The archive has over {MAX_STUDIES:,} such studies. Ask for fewer, with "
                    "--where or --since."
                )
        return len(self._listed)

    def source(self, skipped: Callable[[], None] = unseen) -> Source:
        """Returns the listed studies. skipped: called after each one that is passed over."""
        passed = Counter[str]()
        return source_of(self._studies(passed, skipped), len(self._listed), passed)

    def settle(self, done: Outcome) -> None:
        """Remembers the studies of a batch, which are on the disk."""
        rejected = {each.number: each for each in done.rejected}
        settled: list[Pulled] = []
        for _ in range(done.studies):
            settled += self._settled()
            self._number += 1
            self._awaited[0].entries -= 1
            if (fault := rejected.get(self._number)) is not None:
                self._awaited[0].rejected = True
                self._awaited[0].passing |= fault.passing
        self._ledger.add([*settled, *self._settled()])

    def finish(self) -> None:
        """Remembers that all was read, unless a study was rejected for what may pass."""
        self._ledger.add(self._settled())
        if self._complete:
            self._ledger.complete(self._asked, self._began)

    def close(self) -> None:
        """Fetches nothing more. Without it, threads of a run that was broken off wait forever."""
        if self._fetched is not None:
            self._fetched.close()

    def _earliest(self) -> date | None:
        began = self._ledger.last_complete(self._asked)
        return None if began is None else (began - LATE).date()

    def _settled(self) -> Iterator[Pulled]:
        """Yields the first studies of which no entry is awaited any more."""
        while self._awaited and not self._awaited[0].entries:
            mark = self._awaited.popleft()
            self._complete &= not mark.passing
            if mark.study is not None and not mark.passing:
                yield Pulled(mark.study, mark.content, "rejected" if mark.rejected else "stored")

    def _studies(self, passed: Counter[str], skipped: Callable[[], None]) -> Iterator[Studies]:
        """Yields a small folder for each study that is fetched."""
        self._fetched = in_order(
            self._fetcher.fetch,
            self._listed,
            at_once=AT_ONCE,
            ahead=AHEAD,
            ahead_bytes=AHEAD_BYTES,
        )
        for fetched in self._fetched:
            if fetched.left_out is not None:
                passed[fetched.left_out] += 1
                skipped()
            else:
                passed[OTHERS] += fetched.others
                if (folder := self._folder(fetched, passed)).count:
                    yield folder
                else:
                    skipped()
            del fetched  # its files, before the next ones are awaited

    def _folder(self, fetched: Fetched, passed: Counter[str]) -> Studies:
        place, fault, studies = fetched.study.study_uid, fetched.fault, studies_among(fetched.files)
        found = [replace(each, place=place) for each in studies.found]
        if fault is not None:
            found = [Found(place, StudyInvalid(fault.detail))]
        passed.update(studies.passed)
        unknown = isinstance(fault, PeerRefused | PeerUnavailable)
        self._awaited.append(
            _Mark(
                None if unknown else fetched.reference,
                fetched.content,
                len(found),
                passing=isinstance(fault, PeerUnavailable),
            )
        )
        return Studies(iter(found), len(found), studies.read, passed)
