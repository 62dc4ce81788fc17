"""An archive that holds DICOM files in memory, to pull from without a server."""

import io
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime

from pydicom import dcmread

from service.errors import EclipError, PeerUnavailable
from service.pacs.archive import Instance, ListedStudy, Wanted


class HeldArchive:
    """Holds files and counts what is fetched of them.

    faults: SOPInstanceUID → the error that is given in its place. away: StudyInstanceUIDs of which
    nothing is answered.
    """

    def __init__(self, files: Sequence[bytes] = ()) -> None:
        self.held: dict[str, dict[str, tuple[Instance, bytes]]] = {}
        self.dates: dict[str, str] = {}
        self.faults: dict[str, EclipError] = {}
        self.away: set[str] = set()
        self.fetched: list[str] = []
        self.wanted: list[Wanted] = []
        self._counting = threading.Lock()
        for file in files:
            self.add(file)

    def add(self, file: bytes) -> None:
        """Stores a file."""
        header = dcmread(io.BytesIO(file), stop_before_pixels=True, force=True)
        uid, study = str(header.SOPInstanceUID), str(header.StudyInstanceUID)
        listed = Instance("1.2.9", uid, str(header.SOPClassUID), str(header.Modality))
        self.held.setdefault(study, {})[uid] = (listed, file)
        self.dates[study] = str(header.get("StudyDate") or "")

    def studies(self, wanted: Wanted) -> Iterator[ListedStudy]:
        """Yields the studies from a date on. Of `where` nothing is applied."""
        self.wanted.append(wanted)
        for uid, text in sorted(self.dates.items()):
            day = datetime.strptime(text, "%Y%m%d").date() if text else None
            if wanted.since is None or (day is not None and day >= wanted.since):
                yield ListedStudy(uid, day)

    def instances(self, study: ListedStudy) -> Sequence[Instance]:
        """Returns the objects of a study."""
        if study.study_uid in self.away:
            raise PeerUnavailable("The archive does not answer. Try again later.")
        return [listed for listed, _ in self.held[study.study_uid].values()]

    def fetch(
        self, study: ListedStudy, instances: Sequence[Instance]
    ) -> Iterator[tuple[Instance, bytes | EclipError]]:
        """Yields the objects of a study, last one first."""
        for each in reversed(instances):
            with self._counting:
                self.fetched.append(each.instance_uid)
            file = self.held[study.study_uid][each.instance_uid][1]
            yield each, self.faults.get(each.instance_uid, file)

    def close(self) -> None:
        """Does nothing."""
