"""Reads a radiologist's report from a DICOM structured report, and says whether it counts as one.

Read are Basic Text, Enhanced, Comprehensive, Comprehensive 3D and Extensible SR (PS3.3 A.35),
whatever their template: TID 2000 with its sections, basic text with headings, plain trees of text.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from service.bundle.report_text import described
from service.studies.concepts import ADDENDUM
from service.studies.content import Content, read_content
from service.studies.identities import HEADER, identity_in
from service.studies.objects import ObjectReader, read_object
from service.studies.scrubbing import Identity

UNFINISHED = "structured reports that are unfinished or withdrawn"
NO_REPORT = "structured reports without a radiologist's text"
BY_DEVICE = "structured reports by a device that nobody has verified"
REPLACED = "structured reports that a later one replaces"

_READ = (
    "SOPInstanceUID", "ContentTime", "CompletionFlag", "CompletionFlagDescription",
    "PreliminaryFlag", "VerificationFlag", "ConceptNameCodeSequence",
    "ContentTemplateSequence", "ContentSequence", "PredecessorDocumentsSequence",
)  # fmt: skip
_WITHDRAWN = re.compile(r"reject|deprecat|withdraw|cancel|revoke|superseded|in error|invalid", re.I)
_DOSES = frozenset({"113701", "113500", *map(str, range(10001, 10041))})
"""Titles and templates of dose reports (PS3.16 A, TID 10001 and on)."""
_MEASUREMENTS = frozenset({"126000", "1500"})
"""Title and template of measurement reports (TID 1500), which viewers and other programs write."""
_OBSERVER_TYPE, _DEVICE = "121005", "121007"
"""DCM codes of TID 1002: who observed, and a device."""
_ADDENDUM = re.compile(r"\baddend(?:um|a)\b", re.I)


@dataclass(frozen=True, slots=True)
class StructuredReport:
    """A structured report of one study. `text` still names whom the report names.

    fault: why it does not count as the study's report; None if it does. made: sorts reports by
    age, the latest last. replaces: SOP Instance UIDs of earlier versions. is_addendum: whether it
    adds to another report, which stays.
    """

    instance_uid: str
    text: str
    identity: Identity
    fault: str | None
    made: tuple[str, ...]
    replaces: frozenset[str]
    is_addendum: bool = False


def read_report(file: bytes) -> StructuredReport:
    """Reads a structured report. Raises StudyInvalid for one that is damaged or too large."""
    return read_object(file, (*HEADER, *_READ), _report)


def latest(reports: Sequence[StructuredReport]) -> StructuredReport | None:
    """Returns the report that counts: no other one replaces it, and it was made last.

    An addendum counts only where there is nothing else, whatever it says that it replaces.
    """
    counting = [report for report in reports if report.fault is None]
    counting = [report for report in counting if not report.is_addendum] or counting
    replaced = {uid for report in counting for uid in report.replaces - {report.instance_uid}}
    current = [report for report in counting if report.instance_uid not in replaced]
    return max(current or counting, key=lambda report: report.made, default=None)


def addenda_to(
    report: StructuredReport, reports: Sequence[StructuredReport]
) -> list[StructuredReport]:
    """Returns the addenda that were made after a report, the latest last.

    One that names another as its predecessor follows it, as the first follows the report.
    """
    later = {
        each.instance_uid: each
        for each in reports
        if each.fault is None and each.is_addendum and each.made > report.made
    }
    return sorted(later.values(), key=lambda each: each.made)


def _report(reader: ObjectReader) -> StructuredReport:
    dataset, content = reader.dataset, read_content(reader)
    identity = identity_in(reader, dataset)
    fault = UNFINISHED if not _is_finished(reader) else None
    if fault is None and (_is_dose(reader) or not content.is_report):
        fault = NO_REPORT
    if fault is None and _is_by_device(reader):
        fault = BY_DEVICE
    is_addendum = _is_addendum(reader, content)
    return StructuredReport(
        reader.text(dataset, "SOPInstanceUID"),
        f"{ADDENDUM}:\n{content.text}"
        if is_addendum and ADDENDUM not in content.sections
        else content.text,
        identity
        | Identity(frozenset(content.people), frozenset(content.places), frozenset(content.places)),
        fault,
        _made(reader),
        frozenset(_replaced(reader)),
        is_addendum,
    )


def _is_finished(reader: ObjectReader) -> bool:
    """Whether nothing in it says that it is unfinished or withdrawn."""
    word = reader.text
    return word(reader.dataset, "CompletionFlag").upper() in (
        "COMPLETE",
        "",
    ) and not _WITHDRAWN.search(word(reader.dataset, "CompletionFlagDescription"))


def _is_dose(reader: ObjectReader) -> bool:
    return not _DOSES.isdisjoint(_titles(reader))


def _titles(reader: ObjectReader) -> tuple[str, str]:
    """The identifier of its template, and the code of its title."""
    template = reader.first(reader.dataset, "ContentTemplateSequence")
    title = reader.first(reader.dataset, "ConceptNameCodeSequence")
    return reader.text(template, "TemplateIdentifier"), reader.text(title, "CodeValue")


def _is_by_device(reader: ObjectReader) -> bool:
    """Whether devices alone observed what it says (TID 1002), and nobody has verified it.

    So a draft of this program, or of another, is no report, whatever a PACS writes in its header.
    """
    if reader.text(reader.dataset, "VerificationFlag").upper() == "VERIFIED":
        return False
    kinds = {
        reader.text(reader.first(item, "ConceptCodeSequence"), "CodeValue")
        for item in reader.items(reader.dataset, "ContentSequence")
        if reader.text(reader.first(item, "ConceptNameCodeSequence"), "CodeValue") == _OBSERVER_TYPE
    }
    return kinds == {_DEVICE}


def _is_addendum(reader: ObjectReader, content: Content) -> bool:
    """Whether it adds to another report, by its title or because it has nothing but an addendum.

    One that has findings and an impression is a whole report, amended.
    """
    kinds = {kind for kind, _ in described(content.text)}
    if kinds >= {"findings", "impression"}:
        return False
    title = reader.text(reader.first(reader.dataset, "ConceptNameCodeSequence"), "CodeMeaning")
    return bool(_ADDENDUM.search(title)) or (not kinds and bool(_ADDENDUM.search(content.text)))


def _made(reader: ObjectReader) -> tuple[str, ...]:
    """Whether it is in words and final, when it was made and last verified, then its UID.

    A preliminary report counts as long as there is no other, and so does one of measurements.
    """
    dataset = reader.dataset
    in_words = "" if _MEASUREMENTS & set(_titles(reader)) else "words"
    final = "" if reader.text(dataset, "PreliminaryFlag").upper() == "PRELIMINARY" else "final"
    day, time = (_digits(reader.text(dataset, name)) for name in ("ContentDate", "ContentTime"))
    observers = reader.items(dataset, "VerifyingObserverSequence")
    verified = (_digits(reader.text(each, "VerificationDateTime")) for each in observers)
    return (
        in_words,
        final,
        day,
        time,
        max(verified, default=""),
        reader.text(dataset, "SOPInstanceUID"),
    )


def _digits(text: str) -> str:
    """The digits of a time, without what the time zone adds."""
    return re.sub(r"\D", "", re.split(r"[+-]", text)[0])


def _replaced(reader: ObjectReader) -> Iterable[str]:
    for study in reader.items(reader.dataset, "PredecessorDocumentsSequence"):
        for series in reader.items(study, "ReferencedSeriesSequence"):
            for document in reader.items(series, "ReferencedSOPSequence"):
                yield reader.text(document, "ReferencedSOPInstanceUID")
