"""Reads studies from a DICOM node: C-FIND to list them, C-GET or C-MOVE to fetch their objects."""

from collections.abc import Iterator, Sequence
from itertools import islice

from pydicom.dataset import Dataset

from service.errors import EclipError
from service.pacs.address import NodeAddress
from service.pacs.archive import Archive, Instance, ListedStudy, Wanted
from service.pacs.contexts import FIND, query_contexts
from service.pacs.node.associations import PATIENCE, Caller, Patience
from service.pacs.node.query import (
    answers_by_date,
    instances_of,
    listed_study,
    meets,
    study_queries,
)
from service.pacs.node.retrieval import Retriever
from service.pacs_settings import PacsSettings

_AT_ONCE = 100
"""Studies that are filtered in one association."""


class NodeArchive(Archive):
    """A DICOM node that studies are read from, as `Archive` describes."""

    def __init__(
        self, address: NodeAddress, settings: PacsSettings, patience: Patience = PATIENCE
    ) -> None:
        self._caller = Caller(address, settings, patience)
        self._retriever = Retriever(self._caller, settings)

    def studies(self, wanted: Wanted) -> Iterator[ListedStudy]:
        """Yields the studies that are wanted, each once. Raises SettingInvalid for a wrong key."""
        seen = set[str]()
        for keys in study_queries(wanted):
            answers = iter(answers_by_date(self._ask, keys, wanted.since))
            while some := list(islice(answers, _AT_ONCE)):
                for study in self._meeting(some, wanted):
                    if study.study_uid not in seen:
                        seen.add(study.study_uid)
                        yield study

    def instances(self, study: ListedStudy) -> Sequence[Instance]:
        """Returns the objects of a study."""
        return self._caller.run(query_contexts(FIND), lambda link: instances_of(link.find, study))

    def fetch(
        self, study: ListedStudy, instances: Sequence[Instance]
    ) -> Iterator[tuple[Instance, bytes | EclipError]]:
        """Yields each of these objects as a DICOM file, or with its error."""
        return self._retriever.fetch(study, instances)

    def close(self) -> None:
        """Ends its associations."""
        self._caller.close()
        self._retriever.close()

    def _ask(self, query: Dataset) -> list[Dataset]:
        return self._caller.run(query_contexts(FIND), lambda link: link.find(query))

    def _meeting(self, answers: Sequence[Dataset], wanted: Wanted) -> list[ListedStudy]:
        return self._caller.run(
            query_contexts(FIND),
            lambda link: [
                study
                for answer in answers
                if (study := listed_study(answer)) and meets(link.find, answer, wanted)
            ],
        )


def open_node_archive(
    address: NodeAddress, settings: PacsSettings, patience: Patience = PATIENCE
) -> NodeArchive:
    """Returns the archive of a DICOM node. Nothing is sent to it yet.

    Raises SettingInvalid for a certificate that cannot be read.
    """
    return NodeArchive(address, settings, patience)
