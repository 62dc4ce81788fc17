"""Makes the draft report of a received study, from the files of its images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from pydicom.dataset import Dataset

from service.cases.own_ids import OwnIds, own_ids
from service.deadline import Deadline
from service.errors import (
    DeadlineExceeded,
    EclipError,
    LlmUnavailable,
    MemoryShort,
    QueueFull,
    ReportUngrounded,
    StoreUnavailable,
    StudyInvalid,
)
from service.inference.encoder import EncodedImage, Encoder
from service.pacs.desk.received import read_received
from service.pacs.desk.rules import Rules
from service.pacs.headers import header_of
from service.reporting.evidence import Subject
from service.reporting.pipeline import Reporter
from service.reporting.report import Report, ReportRequest
from service.settings import Settings
from service.studies.fields import MAX_VIEWS
from service.studies.samples import SEVERAL_PATIENTS

TRANSIENT = (StoreUnavailable, LlmUnavailable, QueueFull, MemoryShort, DeadlineExceeded)
"""Faults of this service: the same study may be read later."""
ASKED_BY = "pacs"
"""Who asked for these reports, in the audit log."""


@dataclass(frozen=True, slots=True)
class Drafted:
    """A report, and the headers of the images that it is about."""

    report: Report
    images: Sequence[Dataset]


@dataclass(frozen=True, slots=True)
class NotDrafted:
    """Why there is no report. rule: of an image that was left out. error: of one that failed."""

    rule: str | None = None
    error: EclipError | None = None


@dataclass(slots=True)
class _Study:
    """What was read of a study's images so far."""

    names: list[str] = field(default_factory=list)
    headers: list[Dataset] = field(default_factory=list)
    encoded: list[EncodedImage] = field(default_factory=list)
    ids: list[OwnIds] = field(default_factory=list)
    rule: str | None = None
    error: EclipError | None = None


@dataclass(frozen=True, slots=True)
class Drafting:
    """Reads a study's images one after the other, so that one file is in memory at a time.

    An image that cannot be used does not cost its siblings their report.
    """

    settings: Settings
    encoder: Encoder
    reporter: Reporter
    rules: Rules

    def draft(
        self, study_uid: str, names: Sequence[str], read: Callable[[str], bytes], deadline: Deadline
    ) -> Drafted | NotDrafted:
        """Returns the report on the images that the rules let in, or why there is none.

        read: returns the file of a name. Raises the errors of `TRANSIENT`.
        """
        study = _Study()
        try:
            for name in names:
                self._add(study, name, read, deadline)
                if len(study.encoded) == min(MAX_VIEWS, self.settings.max_images):
                    break
            if not study.encoded:
                return NotDrafted(study.rule, study.error)
            return Drafted(self._report(study_uid, study, read, deadline), study.headers)
        except TRANSIENT:
            raise
        except EclipError as error:
            return NotDrafted(study.rule, error)

    def _add(
        self, study: _Study, name: str, read: Callable[[str], bytes], deadline: Deadline
    ) -> None:
        """Adds an image to the study, or why it is not there."""
        try:
            file = read(name)
            verdict = self.rules.verdict(read_received(file))
            if not verdict.process:
                study.rule = study.rule or verdict.rule
                return
            header, ids = header_of(file), own_ids([file], None, None)
            (encoded,) = self.encoder.views([file], deadline.within(self.settings.deadline_s))
        except TRANSIENT:
            raise
        except EclipError as error:
            study.error = study.error or error
            return
        study.names.append(name)
        study.headers.append(header)
        study.encoded.append(encoded)
        study.ids.append(ids)

    def _report(
        self, study_uid: str, study: _Study, read: Callable[[str], bytes], deadline: Deadline
    ) -> Report:
        patients = {ids.patient_id for ids in study.ids} - {None}
        if len(patients) > 1:
            raise StudyInvalid(SEVERAL_PATIENTS)
        made = min((ids.earliest for ids in study.ids if ids.earliest is not None), default=None)
        subject = Subject(next(iter(patients), None), study_uid, moment=made)
        request = ReportRequest(subject=subject, asked_by=ASKED_BY)
        within = deadline.within(self.settings.report_s)
        pointing = self.reporter.pointing(
            lambda view: read(study.names[view]), study.encoded, within
        )
        try:
            return self.reporter.report(study.encoded, request, within, pointing)
        except ReportUngrounded:  # the same model would write the same again
            extractive = replace(request, fallback="extractive")
            return self.reporter.report(study.encoded, extractive, within, pointing)
