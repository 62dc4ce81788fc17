"""Holds a result for a PACS or a FHIR server, in the form in which it waits on the disk."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace

from service.pacs.desk.outcomes import Peer


@dataclass(frozen=True, slots=True)
class Result:
    """One result of a study, for one peer. It is encrypted on the disk, and has plain identifiers.

    key: two results of the same key are the same one. written: when it was made, in seconds since
    1970. record: id of the report's audit record. images: how many images it is about. body: the
    DICOM file, or the JSON. made_from: names of the received files that it makes superfluous.
    """

    to: Peer
    key: str
    study_uid: str
    written: float
    record: str
    images: int
    body: bytes
    made_from: tuple[str, ...] = ()

    @property
    def result_uid(self) -> str | None:
        """The SOP Instance UID, of a DICOM object."""
        return self.key if self.to == "pacs" else None

    def packed(self) -> bytes:
        """Returns it as bytes: a line of JSON, then the body."""
        head = {name: getattr(self, name) for name in self.__slots__ if name != "body"}
        return json.dumps(head).encode() + b"\n" + self.body

    @classmethod
    def unpacked(cls, content: bytes) -> "Result":
        """Returns the result of `packed`."""
        head, _, body = content.partition(b"\n")
        members = json.loads(head)
        return cls(**members | {"body": body, "made_from": tuple(members["made_from"])})


def last_names(results: Iterable[Result], names: Iterable[str]) -> list[Result]:
    """Returns the results, of which the last says what they were made from.

    So the received files are dropped only if every result is on the disk.
    """
    *others, last = results
    return [*others, replace(last, made_from=tuple(names))]
