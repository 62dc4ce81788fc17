"""Finds the report of a study among its structured reports, and removes from it whom it names."""

from collections import Counter
from collections.abc import Callable, Sequence

from service.imaging.dicom.header import looks_like_dicom
from service.studies.identities import identity_of
from service.studies.scrubbing import Identity, scrubbed
from service.studies.structured_report import REPLACED, addenda_to, latest, read_report


def report_of(
    images: Sequence[str],
    reports: Sequence[str],
    read: Callable[[str], bytes],
    passed: Counter[str],
) -> str | None:
    """Returns the text of the report that counts, with its addenda; None if none does.

    images, reports: names of the study's DICOM files. Each report is read once. The header of each
    image is read only if a report counts. passed: counts the reports that do not count, by reason.

    Raises StudyInvalid for a report or a header that is damaged or too large: who could be named
    in the report is not known then.
    """
    found = [read_report(read(name)) for name in reports]
    chosen = latest(found)
    current = [] if chosen is None else [chosen, *addenda_to(chosen, found)]
    passed.update(
        report.fault or REPLACED for report in found if id(report) not in map(id, current)
    )
    if not current:
        return None
    identity = Identity()
    for report in found:
        identity |= report.identity
    for image in map(read, images):
        identity |= identity_of(image) if looks_like_dicom(image) else Identity()
    return scrubbed("\n\n".join(report.text for report in current), identity)
