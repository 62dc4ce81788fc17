"""Gives results to those who are to get them: the PACS, and the FHIR server."""

from collections.abc import Mapping

import httpx2

from service.errors import PeerRefused, PeerUnavailable
from service.pacs.destination import Destination
from service.pacs.outbox import StudyGone
from service.pacs.results import Result

_TIMEOUT = httpx2.Timeout(30.0, connect=5.0)
"""Seconds for which a FHIR server may be silent, and may take to accept a connection."""
_BUSY = frozenset({408, 425, 429})
"""HTTP statuses, besides those from 500 up, after which the same request may be taken."""


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
    """A FHIR R4 server. It gets each result as one transaction. Thread-safe.

    url: its base address. token: bearer token, or None. Proxies of the environment are not used.
    """

    def __init__(self, url: str, token: str | None) -> None:
        self._url = url.rstrip("/")
        headers = {"Accept": "application/fhir+json", "Content-Type": "application/fhir+json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token.strip()}"
        self._client = httpx2.Client(
            headers=headers, timeout=_TIMEOUT, follow_redirects=False, trust_env=False
        )

    def send(self, result: Result) -> None:
        """Posts the Bundle. Raises PeerUnavailable or PeerRefused."""
        try:
            with self._client.stream("POST", self._url, content=result.body) as answer:
                status, headers = answer.status_code, answer.headers
        except httpx2.HTTPError as error:
            raise PeerUnavailable(
                f"The FHIR server does not answer ({type(error).__name__}). Check ECLIP_FHIR_URL "
                "and that the server runs."
            ) from None
        if status >= 500 or status in _BUSY:
            raise PeerUnavailable(
                f"The FHIR server answers {status}. The result is sent again.",
                retry_after_s=_seconds(headers),
            )
        if not 200 <= status < 300:
            raise PeerRefused(
                f"The FHIR server refuses the result: it answers {status}. Check ECLIP_FHIR_URL, "
                "ECLIP_FHIR_TOKEN and what the server allows."
            )

    def close(self) -> None:
        """Ends its connections."""
        self._client.close()


def _seconds(headers: Mapping[str, str]) -> float | None:
    """Returns the seconds of `Retry-After`, if it has a number."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isdecimal() and len(value) < 7 else None
