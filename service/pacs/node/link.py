"""Asks a DICOM node within one association: query, retrieve, store and echo, with typed errors."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset

from service.errors import PeerRefused, PeerUnavailable
from service.pacs.contexts import FIND, GET, MOVE
from service.pacs.node.connection_guard import ConnectionGuard

if TYPE_CHECKING:
    from service.pacs.node.associations import Patience

MOST_ANSWERS = 100_000
"""Answers to one query. Beyond them it is split, as where the node itself refuses so many."""
_SUCCESS, _PENDING = 0x0000, (0xFF00, 0xFF01)
_TOO_MANY = (0xA700, 0xFE00)
"""Out of resources, and an end that nobody asked for, by which Orthanc marks a cut list."""


class TooManyMatches(PeerRefused):
    """The node does not list all matches of a query."""


class Link:
    """One association with a node, for one thread."""

    def __init__(self, association: Any, guard: ConnectionGuard, patience: "Patience") -> None:
        self._association, self._guard, self._patience = association, guard, patience

    def accepts(self, sop_class: str) -> bool:
        """Tells whether the node lets itself be asked for this."""
        return any(
            each.abstract_syntax == sop_class and each.as_scu
            for each in self._association.accepted_contexts
        )

    def sends(self, sop_class: str) -> bool:
        """Tells whether the node sends objects of this class in the association."""
        return any(
            each.abstract_syntax == sop_class and each.as_scp
            for each in self._association.accepted_contexts
        )

    def find(self, query: Dataset) -> list[Dataset]:
        """Returns the answers to a query. Raises TooManyMatches where they are not all."""
        answers = []
        with self._guard.within(self._patience.listing_s):
            self._check()
            for code, answer in _statuses(self._association.send_c_find(query, FIND)):
                if code in _PENDING:
                    answers.append(_read(answer))
                if code in _TOO_MANY or len(answers) > MOST_ANSWERS:
                    self.cut()
                    raise TooManyMatches(
                        "The DICOM node does not list so many matches. Raise its limit, or ask "
                        "for fewer studies by --where."
                    )
                if code is None:
                    raise self._dropped()
                if code != _SUCCESS and code not in _PENDING:
                    raise PeerRefused(
                        f"The DICOM node refuses the query (status {code:04X}). Its log says why."
                    )
        return answers

    def get(self, what: Dataset) -> int:
        """Lets the node send objects in this association, and returns the final status."""
        return self._retrieve(lambda: self._association.send_c_get(what, GET))

    def move(self, what: Dataset, to: str) -> int:
        """Lets the node send objects to another by its AE title, and returns the final status."""
        return self._retrieve(lambda: self._association.send_c_move(what, to, MOVE))

    def store(self, dataset: Dataset) -> int:
        """Sends an object, and returns the node's status."""
        with self._guard.within(self._patience.operation_s):
            self._check()
            return self._status(self._association.send_c_store(dataset))

    def echo(self) -> int:
        """Asks whether the node is there, and returns its status."""
        with self._guard.within(self._patience.operation_s):
            self._check()
            return self._status(self._association.send_c_echo())

    def release(self) -> None:
        """Takes leave of the node."""
        with self._guard.within(self._patience.release_s):
            self._association.release()

    def cut(self) -> None:
        """Ends the connection at once, from any thread."""
        self._guard.cut()

    def end(self) -> None:
        """Ends what is left of the association: its connection and its threads."""
        self.cut()
        self._association.abort()
        self._association.dul.join()
        if self._association.ident is not None:
            self._association.join()

    def _retrieve(self, begin: Any) -> int:
        code: int | None = None
        with self._guard.within(self._patience.operation_s):
            self._check()
            for status, _ in _statuses(begin()):
                code = status
        if code is None:
            raise self._dropped()
        return code

    def _status(self, answer: Dataset) -> int:
        if "Status" not in answer:
            raise self._dropped()
        return int(answer.Status)

    def _check(self) -> None:
        if not self._association.is_established:
            raise self._dropped()

    def _dropped(self) -> PeerUnavailable | PeerRefused:
        if self._guard.exceeded:
            return PeerRefused(
                "The DICOM node sends an object, or a list, that is larger than is accepted."
            )
        return PeerUnavailable(
            "The DICOM node ended the connection, or took too long. It may not know this program's "
            "AE title (ECLIP_AE_TITLE): enter it there. Else see its log, and try again later."
        )


def _read(answer: Dataset | None) -> Dataset:
    """Returns an answer. pynetdicom gives None for one that is no dataset."""
    if answer is None:
        raise PeerRefused(
            "The DICOM node answers a query with what cannot be read as DICOM. Its log may say why."
        )
    return answer


def _statuses(answers: Any) -> Iterator[tuple[int | None, Dataset | None]]:
    """Yields each status, None where the association is gone, and what came with it."""
    for status, answer in answers:
        yield (int(status.Status) if "Status" in status else None), answer
