"""Fetches of a study in an archive what can be a case: its radiographs and its reports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from service.errors import EclipError, PeerRefused, RequestMalformed, StudyInvalid
from service.imaging.deidentify import Pseudonymiser, StudyRef
from service.imaging.dicom.sop_classes import REPORT_CLASSES, may_be_projection
from service.pacs.archive import Archive, Instance, ListedStudy
from service.pacs.pull.ledger import Ledger
from service.studies.fields import MAX_VIEWS

MAX_REPORTS = 16
"""Reports that one study may have."""
NO_RADIOGRAPH = "studies without a radiograph"
UNCHANGED = "studies that an earlier run stored, unchanged"
REJECTED = "studies that an earlier run rejected, unchanged"
OTHERS = "objects that are neither a radiograph nor a report"
_KNOWN: Mapping[str, str] = {"stored": UNCHANGED, "rejected": REJECTED}
Kind = Literal["radiograph", "report"]
_MOST: Mapping[Kind, int] = {"radiograph": MAX_VIEWS, "report": MAX_REPORTS}


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was fetched of a study.

    content: keyed hash of its objects' UIDs. files: SOPInstanceUID → DICOM file. fault: why it is
    rejected. left_out: why it was not fetched.
    """

    study: ListedStudy
    reference: StudyRef | None = None
    content: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    others: int = 0
    """Objects of other kinds, which were not fetched."""
    fault: EclipError | None = None
    left_out: str | None = None

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum(map(len, self.files.values()))


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Fetches the studies of an archive that the ledger does not know. Thread-safe."""

    archive: Archive
    ledger: Ledger
    pseudonyms: Pseudonymiser

    def fetch(self, study: ListedStudy) -> Fetched:
        """Fetches a study. Raises PeerUnavailable if the archive does not answer."""
        try:
            reference = self.pseudonyms.study(study.study_uid)
            found = self.archive.instances(study)
            return self._fetch(study, reference, found)
        except RequestMalformed:
            return Fetched(study, fault=StudyInvalid("Its StudyInstanceUID is no id. Correct it."))
        except PeerRefused as error:
            return Fetched(study, fault=error)

    def _fetch(self, study: ListedStudy, reference: StudyRef, found: Sequence[Instance]) -> Fetched:
        kinds = {each: kind for each in found if (kind := kind_of(each)) is not None}
        counted = list(kinds.values())
        if "radiograph" not in counted:
            return Fetched(study, left_out=NO_RADIOGRAPH)
        uids = sorted(each.instance_uid for each in kinds)
        content = self.pseudonyms.text("\n".join(uids))
        if state := self.ledger.state(reference, content):
            return Fetched(study, left_out=_KNOWN[state])
        others, files = len(found) - len(kinds), dict[str, bytes]()
        fault: EclipError | None = _too_many(counted)
        for instance, got in () if fault else self.archive.fetch(study, list(kinds)):
            if isinstance(got, EclipError):
                fault = got
                break
            files[instance.instance_uid] = got
        if fault is None and files.keys() != set(uids):
            fault = PeerRefused("The archive did not send an object that it lists. Check it there.")
        return Fetched(study, reference, content, {} if fault else files, others, fault)


def kind_of(instance: Instance) -> Kind | None:
    """Returns what an object may be, by its SOP class and modality; None for all other kinds."""
    if instance.sop_class in REPORT_CLASSES:
        return "report"
    radiograph = may_be_projection(instance.sop_class, [instance.modality])
    return "radiograph" if radiograph else None


def _too_many(kinds: Sequence[Kind]) -> StudyInvalid | None:
    for kind, most in _MOST.items():
        if (count := kinds.count(kind)) > most:
            return StudyInvalid(
                f"The study has {count} {kind}s, and {most} are the most that a study may have. "
                "Index it from a manifest that names the ones to take."
            )
    return None
