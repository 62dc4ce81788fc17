"""Reads a radiologist's report from a DICOM structured report, and says whether it counts as one.

Read are Basic Text, Enhanced, Comprehensive, Comprehensive 3D and Extensible SR (PS3.3 A.35),
whatever their template: TID 2000 with its sections, basic text with headings, plain trees of text.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from service.studies.content import read_content
from service.studies.identities import HEADER, identity_in
from service.studies.objects import ObjectReader, read_object
from service.studies.scrubbing import Identity

UNFINISHED = "structured reports that are unfinished or withdrawn"
NO_REPORT = "structured reports without a radiologist's text"
REPLACED = "structured reports that a later one replaces"

_READ = (
    "SOPInstanceUID", "ContentTime", "CompletionFlag", "CompletionFlagDescription",
    "PreliminaryFlag", "ConceptNameCodeSequence", "ContentTemplateSequence", "ContentSequence",
    "PredecessorDocumentsSequence",
)  # fmt: skip
_WITHDRAWN = re.compile(r"reject|deprecat|withdraw|cancel|revoke|superseded|in error|invalid", re.I)
_DOSES = range(10001, 10041)
"""Templates of dose reports (PS3.16 A, TID 10001 and on)."""
_DOSE_TITLES = frozenset({"113701", "113500"})


@dataclass(frozen=True, slots=True)
class StructuredReport:
    """A structured report of one study. `text` still names whom the report names.

    fault: why it does not count as the study's report; None if it does. made: sorts reports by
    age, the latest last. replaces: SOP Instance UIDs of earlier versions.
    """

    instance_uid: str
    text: str
    identity: Identity
    fault: str | None
    made: tuple[str, ...]
    replaces: frozenset[str]


def read_report(file: bytes) -> StructuredReport:
    """Reads a structured report. Raises StudyInvalid for one that is damaged or too large."""
    return read_object(file, (*HEADER, *_READ), _report)


def latest(reports: Sequence[StructuredReport]) -> StructuredReport | None:
    """Returns the report that counts: no other one replaces it, and it was made last."""
    counting = [report for report in reports if report.fault is None]
    replaced = {uid for report in counting for uid in report.replaces - {report.instance_uid}}
    current = [report for report in counting if report.instance_uid not in replaced]
    return max(current or counting, key=lambda report: report.made, default=None)


def _report(reader: ObjectReader) -> StructuredReport:
    dataset, content = reader.dataset, read_content(reader)
    identity = identity_in(reader, dataset)
    fault = UNFINISHED if not _is_finished(reader) else None
    if fault is None and (_is_dose(reader) or not content.is_report):
        fault = NO_REPORT
    return StructuredReport(
        reader.text(dataset, "SOPInstanceUID"),
        content.text,
        identity
        | Identity(frozenset(content.people), frozenset(content.places), frozenset(content.places)),
        fault,
        _made(reader),
        frozenset(_replaced(reader)),
    )


def _is_finished(reader: ObjectReader) -> bool:
    """Whether nothing in it says that it is unfinished or withdrawn."""
    word = reader.text
    return word(reader.dataset, "CompletionFlag").upper() in (
        "COMPLETE",
        "",
    ) and not _WITHDRAWN.search(word(reader.dataset, "CompletionFlagDescription"))


def _is_dose(reader: ObjectReader) -> bool:
    template = reader.text(
        reader.first(reader.dataset, "ContentTemplateSequence"), "TemplateIdentifier"
    )
    title = reader.first(reader.dataset, "ConceptNameCodeSequence")
    return (template.isdigit() and int(template) in _DOSES) or (
        reader.text(title, "CodeValue") in _DOSE_TITLES
    )


def _made(reader: ObjectReader) -> tuple[str, ...]:
    """Whether it is final, the times of its content and its latest verification, then its UID.

    A preliminary report counts as long as there is no other.
    """
    dataset = reader.dataset
    final = "" if reader.text(dataset, "PreliminaryFlag").upper() == "PRELIMINARY" else "final"
    day, time = (_digits(reader.text(dataset, name)) for name in ("ContentDate", "ContentTime"))
    observers = reader.items(dataset, "VerifyingObserverSequence")
    verified = (_digits(reader.text(each, "VerificationDateTime")) for each in observers)
    return final, day, time, max(verified, default=""), reader.text(dataset, "SOPInstanceUID")


def _digits(text: str) -> str:
    """The digits of a time, without what the time zone adds."""
    return re.sub(r"\D", "", re.split(r"[+-]", text)[0])


def _replaced(reader: ObjectReader) -> Iterable[str]:
    for study in reader.items(reader.dataset, "PredecessorDocumentsSequence"):
        for series in reader.items(study, "ReferencedSeriesSequence"):
            for document in reader.items(series, "ReferencedSOPSequence"):
                yield reader.text(document, "ReferencedSOPInstanceUID")
