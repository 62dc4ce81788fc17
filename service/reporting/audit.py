"""Keeps the audit log: for each report, what it was asked for, what it says and who wrote it.

The log has one file a day (UTC) with one JSON line a report; lines are only ever appended. The line
is fsynced before the full report is returned. Streamed sentences are sent earlier; if the client
disconnects before the end, no record is written. Delete a day's file to delete its records.

The log holds no id and no text of the caller: ids, indication, comparison and the values of the
filter are keyed hashes. So are the texts of cited passages, and of unsupported sentences, which may
repeat the indication. Supported sentences are kept word for word, also after the patients whose
passages they cite are deleted from the library: `service.reporting.audit_erasure` removes these.
"""

import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from io import BufferedRandom
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from service.bundle.golden import pack_vector, unpack_vector
from service.cases.schema import CaseFilter, Vector
from service.errors import RecordUnknown
from service.files import disk_errors, make_folder, probe, sync
from service.imaging.deidentify import PatientRef, Pseudonymiser, StudyRef
from service.reporting.report import Provenance, Report, ReportRequest
from service.reporting.sentences import Sentence
from service.reporting.writer import WrittenBy

_ID = re.compile(r"(\d{4}-\d\d-\d\d)-[0-9a-f]{16}")


class Cited(BaseModel):
    """One passage of the evidence; the first has number 1. `text` is its keyed hash."""

    model_config = ConfigDict(frozen=True)

    passage_id: str
    study_id: StudyRef
    score: float
    text: str
    patient_id: PatientRef | None = None
    """Absent from old lines."""


class AuditRecord(BaseModel):
    """One report of the log."""

    model_config = ConfigDict(frozen=True)

    id: str
    written: AwareDatetime
    asked_by: str | None = None
    """Name of the caller's API key; None without keys, and on old lines."""
    vector: str
    """The radiograph's embedding, packed like the golden vectors of a bundle."""
    where: CaseFilter
    """Its values are keyed hashes; in old lines they are plain."""
    min_score: float | None
    diversity: float | None
    ungrounded: Literal["drop", "flag"]
    patient_id: str | None
    study_id: str | None
    indication: str | None
    comparison: str | None
    prior_study_id: str | None = None
    """Absent from old lines, like `prior`."""
    prior: str | None = None
    evidence: tuple[Cited, ...]
    findings: tuple[Sentence, ...]
    impression: tuple[Sentence, ...]
    withheld: tuple[Sentence, ...]
    abstained: str | None
    generator: WrittenBy
    provenance: Provenance

    @property
    def embedding(self) -> Vector:
        """The radiograph's embedding, float32[D]."""
        return unpack_vector(self.vector)


class AuditLog:
    """The log of one data directory. Thread-safe; several processes may write to it."""

    def __init__(self, directory: Path, pseudonyms: Pseudonymiser) -> None:
        self.directory, self.pseudonyms = directory, pseudonyms

    def append(self, embedding: Vector, request: ReportRequest, report: Report) -> None:
        """Writes the record of a report; raises StoreUnavailable if the disk does not take it."""
        record = self.record(embedding, request, report)
        line = record.model_dump_json().encode()
        with disk_errors("the audit log, so the report is not given out"):
            append_line(self._path(record.id[:10]), line)

    def check(self) -> None:
        """Raises StoreUnavailable if no report could be recorded now."""
        today = self._path(f"{datetime.now(UTC):%Y-%m-%d}")
        with disk_errors("the audit log"):
            make_folder(today.parent)
            probe(today.parent)
            if today.exists():
                today.open("ab").close()

    def record(self, embedding: Vector, request: ReportRequest, report: Report) -> AuditRecord:
        """Returns the record of a report.

        embedding: of the radiograph, float32[D].
        """
        names = self.pseudonyms
        subject = request.subject
        return AuditRecord(
            id=report.provenance.record,
            written=datetime.now(UTC),
            asked_by=request.asked_by,
            vector=pack_vector(embedding),
            where=self._hashed(request.where),
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
                    patient_id=item.patient_id,
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
        """Returns the keyed hash of a prior study's passages; None without any."""
        return self.pseudonyms.text("\n".join(passages)) if passages else None

    def _hashed(self, where: CaseFilter) -> CaseFilter:
        """Returns the conditions with keyed hashes in the place of the caller's values."""
        hashed = {name: tuple(map(self.pseudonyms.text, v)) for name, v in asdict(where).items()}
        return CaseFilter(**hashed)

    def _recorded(self, sentences: Sequence[Sentence]) -> tuple[Sentence, ...]:
        """Returns the sentences, those that are not supported with a hash as text."""
        return tuple(
            sentence
            if sentence.status == "supported"
            else replace(sentence, text=self.pseudonyms.text(sentence.text))
            for sentence in sentences
        )

    def find(self, record_id: str) -> AuditRecord:
        """Returns the record of this id; skips lines that a crash cut short.

        Raises RecordUnknown if there is none.
        """
        named = _ID.fullmatch(record_id)
        path = self._path(named.group(1)) if named else None
        if path is not None and path.is_file():
            with path.open(encoding="utf-8") as lines:
                for line in lines:
                    if record_id in line and (record := read_line(line)) and record.id == record_id:
                        return record
        raise RecordUnknown(
            "The audit log has no record of this id. Use `provenance.record` of the report."
        )

    def _path(self, day: str) -> Path:
        return self.directory / f"{day}.jsonl"


def new_id() -> str:
    """Returns a new record's id: the day, which names its file, and 16 hexadecimal digits."""
    return f"{datetime.now(UTC):%Y-%m-%d}-{secrets.token_hex(8)}"


@contextmanager
def locked(path: Path) -> Iterator[BufferedRandom]:
    """Gives the file of a day, which nobody else writes or replaces meanwhile. Makes it if missing.

    An erasure may have replaced the file while this process waited; then the new one is opened.
    """
    while True:
        with open(path, "a+b", opener=private) as file:  # Path.open has no opener
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(path, file):
                yield file
                return


def _is_at(path: Path, file: BufferedRandom) -> bool:
    """Decides whether the open file is the one that has this path now."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def append_line(path: Path, line: bytes) -> None:
    """Appends a whole line and fsyncs it, or leaves the file as it was. Raises OSError.

    First ends a line that a crash cut short.
    """
    make_folder(path.parent)
    with locked(path) as file:
        end = file.seek(0, os.SEEK_END)
        torn = end and os.pread(file.fileno(), 1, end - 1) != b"\n"
        whole = b"\n" * bool(torn) + line + b"\n"
        try:
            if os.write(file.fileno(), whole) != len(whole):  # a disk that is full takes a part
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError:
            os.ftruncate(file.fileno(), end)
            raise
    if end == 0:
        sync(path.parent)


def private(path: str, flags: int) -> int:
    """Opens a file that only its owner may read and write."""
    return os.open(path, flags, 0o600)


def read_line(line: str | bytes) -> AuditRecord | None:
    """Returns the record of a line, or None for a line that is none."""
    try:
        return AuditRecord.model_validate_json(line)
    except ValidationError:
        return None
