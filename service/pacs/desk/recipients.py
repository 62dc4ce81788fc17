"""Gives results to those who are to get them: the PACS, and the FHIR server."""

from service.pacs.desk.outbox import StudyGone
from service.pacs.desk.results import Result
from service.pacs.destination import Destination
from service.pacs.drafts.fhir_server import FhirServer


class PacsRecipient:
    """The PACS. It gets a result only while it has the study.

    So a study that was deleted there is not raised again by its result.
    """

    def __init__(self, destination: Destination) -> None:
        self._destination = destination

    def send(self, result: Result) -> None:
        """Sends the DICOM file. Raises StudyGone, PeerUnavailable or PeerRefused."""
        if self._destination.has_study(result.study_uid) is False:
            raise StudyGone(
                "The PACS does not have the study of this result. It is sent once the PACS has it."
            )
        self._destination.send(result.body)


class FhirRecipient:
    """A FHIR server."""

    def __init__(self, server: FhirServer) -> None:
        self._server = server

    def send(self, result: Result) -> None:
        """Posts the Bundle as one transaction. Raises PeerUnavailable or PeerRefused."""
        self._server.send(result.body.decode())
