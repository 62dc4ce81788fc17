"""Writes down what became of each received study and of each result.

There is one file a day (UTC) in `<data_dir>/pacs`, with one JSON line an outcome. Lines are only
ever appended, and fsynced. They hold keyed hashes in the place of identifiers. Delete a day's file
to delete its lines. A crash between a line and the next step can repeat the line.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from pydantic import AwareDatetime, BaseModel, ConfigDict

from service.files import disk_errors
from service.imaging.deidentify import Pseudonymiser, StudyRef
from service.reporting.audit import append_line
from service.telemetry import PACS_OUTCOMES, log

Ending = Literal[
    "sent", "recorded", "left-out", "rejected", "repeated", "failed", "refused",
    "unavailable", "study-gone",
]  # fmt: skip
"""sent: the peer has the result. recorded: nobody is to get it; the audit log has the report.
left-out: the rules process none of the study's images.
rejected: no image of the study can be used. repeated: its images had a draft together with others.
failed: this service could not make the report.
refused: the peer does not take the result. unavailable: the peer did not take it in time.
study-gone: the PACS does not have the study that the result is about."""
Peer = Literal["pacs", "fhir"]
"""To whom a result goes."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a study, or of its result for a peer.

    study_uid: plain. record: id of the report's audit record. result_uid: the plain SOP Instance
    UID of the SR. rule: what left the study out, such as "row 3". error: type of an error, such as
    "image/undecodable".
    """

    study_uid: str
    ending: Ending
    to: Peer | None = None
    images: int = 0
    record: str | None = None
    result_uid: str | None = None
    rule: str | None = None
    error: str | None = None


class OutcomeLine(BaseModel):
    """One line of the files. `study` and `result` are keyed hashes."""

    model_config = ConfigDict(frozen=True)

    written: AwareDatetime
    study: StudyRef
    outcome: Ending
    to: Peer | None
    images: int
    """Images of the study that were read, or that the report is about."""
    record: str | None
    result: str | None
    rule: str | None
    error: str | None


class Outcomes:
    """The files of one data directory. Thread-safe; several processes may write to them."""

    def __init__(self, folder: Path, pseudonyms: Pseudonymiser) -> None:
        self._folder, self._pseudonyms = folder, pseudonyms
        for ending in get_args(Ending):  # from 0, so that an alert sees the first of each
            PACS_OUTCOMES.labels(ending)

    def write(self, outcome: Outcome) -> None:
        """Appends the line of an outcome and counts it. Raises StoreUnavailable."""
        now, names = datetime.now(UTC), self._pseudonyms
        line = OutcomeLine(
            written=now,
            study=names.study(outcome.study_uid),
            outcome=outcome.ending,
            to=outcome.to,
            images=outcome.images,
            record=outcome.record,
            result=outcome.result_uid and names.text(outcome.result_uid),
            rule=outcome.rule,
            error=outcome.error,
        )
        with disk_errors("the outcomes of received studies"):
            append_line(self._folder / f"{now:%Y-%m-%d}.jsonl", line.model_dump_json().encode())
        PACS_OUTCOMES.labels(outcome.ending).inc()
        log().info("outcome", **line.model_dump(include={"outcome", "to", "images", "error"}))
