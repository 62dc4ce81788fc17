"""The audit log: what each report was asked of, by what it was written, and what it says.

One JSON line a report, in a file a day (UTC) that is only ever appended to; a report is on disk
before anyone has it whole. Of one that is streamed, sentences are told before, and where nobody
waits for its end there is no record. Removing the file of a day ends what is kept of it.

No caller's id and no caller's text stands in it: ids, indication and comparison are keyed hashes,
and so are the passages and the sentences that no passage supports, which may repeat an indication.
What is supported stands there as it was given out, also when the patients whose passages it cites
are deleted.
"""

import fcntl
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from service.bundle.manifest import pack_vector, unpack_vector
from service.cases.schema import CaseFilter, Vector
from service.errors import RecordUnknown, StoreUnavailable
from service.imaging.deidentify import Pseudonymiser
from service.reporting.grounding import Sentence
from service.reporting.report import Generator, Provenance, Report, ReportRequest

_ID = re.compile(r"(\d{4}-\d\d-\d\d)-[0-9a-f]{16}")


class Cited(BaseModel):
    """One passage of the evidence; the first is number 1. `text` is its keyed hash."""

    model_config = ConfigDict(frozen=True)

    passage_id: str
    study_id: str
    score: float
    text: str


class Record(BaseModel):
    """One report of the log."""

    model_config = ConfigDict(frozen=True)

    id: str
    written: AwareDatetime
    vector: str
    """The radiograph's embedding, packed as the bundle's golden ones are."""
    where: CaseFilter
    min_score: float | None
    diversity: float | None
    ungrounded: Literal["drop", "flag"]
    patient_id: str | None
    study_id: str | None
    indication: str | None
    comparison: str | None
    prior_study_id: str | None = None
    """Not in lines that are older than it, as `prior`."""
    prior: str | None = None
    evidence: tuple[Cited, ...]
    findings: tuple[Sentence, ...]
    impression: tuple[Sentence, ...]
    withheld: tuple[Sentence, ...]
    abstained: str | None
    generator: Generator
    provenance: Provenance

    @property
    def radiograph(self) -> Vector:
        """The embedding, float32[D]."""
        return unpack_vector(self.vector)


class AuditLog:
    """The log of one data directory. Thread-safe; several processes may write to it."""

    def __init__(self, directory: Path, pseudonyms: Pseudonymiser) -> None:
        self._directory, self.pseudonyms = directory, pseudonyms

    def append(self, vector: Vector, request: ReportRequest, report: Report) -> None:
        """Write down a report; raises StoreUnavailable where the disk does not take it."""
        record = self.record(vector, request, report)
        line = record.model_dump_json().encode() + b"\n"
        try:
            _append(self._path(record.id[:10]), line)
        except OSError:
            raise StoreUnavailable(
                "The audit log cannot be written, so the report is not given out. Check the disk's "
                "space and the permissions of the data directory."
            ) from None

    def record(self, vector: Vector, request: ReportRequest, report: Report) -> Record:
        """A report as the log has it."""
        names = self.pseudonyms
        subject = request.subject
        return Record(
            id=report.provenance.record,
            written=datetime.now(UTC),
            vector=pack_vector(vector),
            where=request.where,
            min_score=request.min_score,
            diversity=request.diversity,
            ungrounded=request.ungrounded,
            patient_id=subject.patient_id and names.patient(subject.patient_id),
            study_id=subject.study_id and names.study(subject.study_id),
            indication=request.indication and names.text(request.indication),
            comparison=request.comparison and names.text(request.comparison),
            prior_study_id=subject.prior_study_id and names.study(subject.prior_study_id),
            prior=self.hash_of(report.prior),
            evidence=tuple(
                Cited(
                    passage_id=item.passage_id,
                    study_id=item.study_id,
                    score=item.score,
                    text=names.text(item.text),
                )
                for item in report.evidence
            ),
            findings=self._recorded(report.findings),
            impression=self._recorded(report.impression),
            withheld=self._recorded(report.withheld),
            abstained=report.abstained,
            generator=report.generator,
            provenance=report.provenance,
        )

    def hash_of(self, passages: Sequence[str]) -> str | None:
        """The keyed hash of what was read of a prior study."""
        return self.pseudonyms.text("\n".join(passages)) if passages else None

    def _recorded(self, sentences: Sequence[Sentence]) -> tuple[Sentence, ...]:
        """Those that are supported as they are, the others without their words."""
        return tuple(
            one if one.status == "supported" else replace(one, text=self.pseudonyms.text(one.text))
            for one in sentences
        )

    def find(self, record_id: str) -> Record:
        """The record of that id; raises RecordUnknown. A line that a crash cut short is skipped."""
        named = _ID.fullmatch(record_id)
        path = self._path(named.group(1)) if named else None
        if path is not None and path.is_file():
            with path.open(encoding="utf-8") as lines:
                for line in lines:
                    if record_id in line and (record := _read(line)) and record.id == record_id:
                        return record
        raise RecordUnknown(
            "The audit log has no such record; a report's provenance names its own."
        )

    def _path(self, day: str) -> Path:
        return self._directory / f"{day}.jsonl"


def new_id() -> str:
    """The day, so that it is found again, and 16 hexadecimal digits."""
    return f"{datetime.now(UTC):%Y-%m-%d}-{secrets.token_hex(8)}"


def _append(path: Path, line: bytes) -> None:
    """Add one whole line, durably; what a crash cut short before it stays a line of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+b", opener=_for_its_owner) as file:  # Path.open has no opener
        fcntl.flock(file, fcntl.LOCK_EX)
        end = file.seek(0, os.SEEK_END)
        torn = end and os.pread(file.fileno(), 1, end - 1) != b"\n"
        file.write(b"\n" * bool(torn) + line)
        file.flush()
        os.fsync(file.fileno())


def _for_its_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _read(line: str) -> Record | None:
    try:
        return Record.model_validate_json(line)
    except ValidationError:
        return None
