"""Erases from the audit log what concerns a patient, while servers write to it.

A record about the patient is removed. A record of another patient's report stays, without what it
cites of the patient: the sentences that rest on it, the entries of the evidence and their hashes. A
line that a crash cut short is removed too, because nobody can tell whose it is.

A day is written again only if it changes: to a draft that is synced and then renamed, under the
lock of the day. A killed erasure leaves the day as it was or as it should be, and perhaps a draft,
which holds nothing that was to be erased. The next erasure, or the next server, removes it.
"""

import fcntl
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic_core import from_json

from service.errors import StoreUnavailable
from service.files import written_atomically
from service.imaging.deidentify import StudyRef
from service.reporting.audit import AuditLog, AuditRecord, Cited, locked, private, read_line
from service.reporting.sentences import Sentence

ERASED = "erased"
"""What stands in the place of an erased sentence or entry."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """What an erasure did, in numbers of records.

    removed: about the patient. changed: of other patients' reports that cited the patient. cut:
    lines that a crash had cut short. days: files that were written again.
    """

    removed: int = 0
    changed: int = 0
    cut: int = 0
    days: int = 0

    def __add__(self, other: "Erasure") -> "Erasure":
        return Erasure(
            self.removed + other.removed,
            self.changed + other.changed,
            self.cut + other.cut,
            self.days + other.days,
        )


def erase(log: AuditLog, patient_id: str | None, study_ids: Collection[str]) -> Erasure:
    """Erases what concerns a patient and these studies, each a caller's own id or a reference.

    Records name the patients that they cite, so that the patient's studies are known from them.
    Old records name the studies alone: give these as `study_ids`. Raises StoreUnavailable if the
    disk does not take a day's new file; that day is then as it was.
    """
    names = log.pseudonyms
    patient = None if patient_id is None else names.patient(patient_id)
    traces: set[str] = {*map(names.study, study_ids)} | ({patient} if patient else set())
    if not log.directory.is_dir():
        return Erasure()
    try:
        with _alone(log.directory):
            _remove_drafts(log.directory)
            days = sorted(log.directory.glob("*.jsonl"))
            for day in days if patient else ():
                traces |= _studies_cited(day, patient or "")
            return sum((_erase_of_day(day, traces) for day in days), Erasure())
    except OSError:
        raise StoreUnavailable(
            "Cannot write to the audit log, so not all of it is erased. Check the free space of "
            "the disk and the permissions of the data directory, then erase again."
        ) from None


def remove_drafts(directory: Path) -> None:
    """Removes what a killed erasure left of its work, unless another is at work now."""
    with suppress(OSError), _alone(directory, fcntl.LOCK_NB):
        _remove_drafts(directory)


@contextmanager
def _alone(directory: Path, flags: int = 0) -> Iterator[None]:
    """Holds the lock of all erasures. Raises OSError if it is taken and flags has LOCK_NB."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | flags)
        yield
    finally:
        os.close(descriptor)


def _remove_drafts(directory: Path) -> None:
    for draft in directory.glob(".*.jsonl.*.part"):
        draft.unlink(missing_ok=True)


def _studies_cited(day: Path, patient: str) -> set[str]:
    """Returns the studies of the patient that the records of a day cite or were written with."""
    studies = set[str | None]()
    with day.open("rb") as lines:
        for line in lines:
            if patient.encode() in line and (record := read_line(line)):
                studies |= {each.study_id for each in record.evidence if each.patient_id == patient}
                studies |= {record.prior_study_id} if record.patient_id == patient else set()
    return {study for study in studies if study}


def _erase_of_day(day: Path, traces: Collection[str]) -> Erasure:
    """Writes a day's file again without the traces, if it has any."""
    with locked(day) as file:
        file.seek(0)
        done = sum((_judged(line, traces)[1] for line in file), Erasure())
        if done == Erasure():
            return done
        file.seek(0)
        with written_atomically(day) as draft, open(draft, "wb", opener=private) as new:
            new.writelines(_judged(line, traces)[0] for line in file)
    return done + Erasure(days=1)


def _judged(line: bytes, traces: Collection[str]) -> tuple[bytes, Erasure]:
    """Returns what stays of a line, and what was done to it."""
    if not any(trace.encode() in line for trace in traces):
        return (line, Erasure()) if _is_whole(line) else (b"", Erasure(cut=1))
    record = read_line(line)
    if record is None:  # cut short, or of a form that this version does not know
        return b"", Erasure(removed=1) if _is_whole(line) else Erasure(cut=1)
    if not {record.patient_id, record.study_id, record.prior_study_id}.isdisjoint(traces):
        return b"", Erasure(removed=1)
    return _without(record, traces).model_dump_json().encode() + b"\n", Erasure(changed=1)


def _is_whole(line: bytes) -> bool:
    try:
        from_json(line)
    except ValueError:
        return False
    return True


def _without(record: AuditRecord, traces: Collection[str]) -> AuditRecord:
    """Returns the record without what it cites of the traces."""
    gone = {
        number
        for number, cited in enumerate(record.evidence, start=1)
        if not {cited.study_id, cited.patient_id}.isdisjoint(traces)
    }

    def kept(sentences: Sequence[Sentence]) -> tuple[Sentence, ...]:
        return tuple(
            sentence if gone.isdisjoint(sentence.evidence) else replace(sentence, text=ERASED)
            for sentence in sentences
        )

    return record.model_copy(
        update={
            "evidence": tuple(
                _erased(cited) if number in gone else cited
                for number, cited in enumerate(record.evidence, start=1)
            ),
            "findings": kept(record.findings),
            "impression": kept(record.impression),
            "withheld": kept(record.withheld),
        }
    )


def _erased(cited: Cited) -> Cited:
    return Cited(passage_id=ERASED, study_id=StudyRef(ERASED), score=cited.score, text=ERASED)
