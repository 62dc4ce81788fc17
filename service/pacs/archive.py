"""Defines what an archive of studies can be asked, whatever its protocol."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

from service.errors import EclipError


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which studies are asked for.

    where: keyword of a DICOM attribute → accepted values; a study must meet all, each by one of its
    values. since: the earliest StudyDate.
    """

    where: Mapping[str, Sequence[str]] = field(default_factory=dict)
    since: date | None = None


@dataclass(frozen=True, slots=True)
class ListedStudy:
    """A study as an archive lists it, by its plain UID."""

    study_uid: str
    study_date: date | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """An object of a study, as an archive lists it."""

    series_uid: str
    instance_uid: str
    sop_class: str
    modality: str


class Archive(Protocol):
    """A PACS that studies are read from. Thread-safe: several studies are read at a time.

    Every method raises PeerUnavailable (after retries) or PeerRefused.
    """

    def studies(self, wanted: Wanted) -> Iterator[ListedStudy]:
        """Yields the studies that are wanted, each once."""
        ...

    def instances(self, study: ListedStudy) -> Sequence[Instance]:
        """Returns the objects of a study."""
        ...

    def fetch(
        self, study: ListedStudy, instances: Sequence[Instance]
    ) -> Iterator[tuple[Instance, bytes | EclipError]]:
        """Yields each of these objects as a DICOM file, in the transfer syntax it is stored in.

        An object that cannot be had is yielded with its error; the others follow.
        """
        ...

    def close(self) -> None:
        """Ends its connections."""
        ...
