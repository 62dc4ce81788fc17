"""Gives transactions to a FHIR server, and says in our words why it did not take one.

Nothing that the server says is quoted, because it may repeat what it was sent: only its HTTP status
and the codes of its OperationOutcome, which come from a list of the standard.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from threading import Timer
from typing import Any

import httpx2

from service.errors import PeerRefused, PeerUnavailable
from service.pacs.tls import trusting
from service.reporting.llm.connection import Connection, trace_connection
from service.retry_after import retry_after_s

LIMIT_S = 60.0
"""Seconds that one transaction may take, from the connection to the end of the answer."""
_TIMEOUT = httpx2.Timeout(30.0, connect=5.0)
"""Seconds for which the server may be silent, and may take to accept a connection."""
_MOST_ANSWER = 2**22
"""Bytes of an answer that are read. That to a hundred entries has about 50 kB."""
_PASSING = frozenset({408, 409, 423, 425, 429})
"""HTTP statuses under 500 after which the same transaction may be taken: among them 409, which
servers answer where two transactions make the same resource at the same time."""
_LASTING = frozenset({501, 505})
"""HTTP statuses from 500 up that stay as they are."""
_ISSUES = frozenset({
    "invalid", "structure", "required", "value", "invariant", "security", "login", "unknown",
    "expired", "forbidden", "suppressed", "processing", "not-supported", "duplicate",
    "multiple-matches", "not-found", "deleted", "too-long", "code-invalid", "extension",
    "too-costly", "business-rule", "conflict", "transient", "lock-error", "no-store", "exception",
    "timeout", "incomplete", "throttled",
})  # fmt: skip
"""Codes of FHIR R4's IssueType that an error may name."""


class FhirServer:
    """A FHIR R4 server. Thread-safe: each transaction has a connection of its own.

    url: its base address. token: bearer token, or None. ca: PEM file of the authorities that its
    certificate is checked by; None for the public ones. Proxies of the environment are not used,
    and redirects are not followed, as they could lead the token and the report elsewhere.
    """

    def __init__(
        self, url: str, token: str | None, *, ca: Path | None = None, limit_s: float = LIMIT_S
    ) -> None:
        self._url, self._limit_s = url.rstrip("/"), limit_s
        headers = {
            "Accept": "application/fhir+json",
            "Content-Type": "application/fhir+json; charset=utf-8",
            "Prefer": "return=minimal",
        }
        if token is not None and token.strip():
            headers["Authorization"] = f"Bearer {token.strip()}"
        self._client = httpx2.Client(
            headers=headers,
            timeout=_TIMEOUT,
            verify=trusting(ca),
            event_hooks={"request": [trace_connection]},
            limits=httpx2.Limits(max_keepalive_connections=0),
            follow_redirects=False,
            trust_env=False,
        )

    def send(self, bundle: str) -> None:
        """Posts a transaction. Returns once the server has stored all of it.

        Raises PeerUnavailable where trying again may help, PeerRefused where it would not.
        """
        connection = Connection()
        timer = Timer(self._limit_s, connection.end)
        timer.daemon = True
        timer.start()
        try:
            status, headers, body = connection.of(lambda: self._post(bundle.encode()))
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise PeerUnavailable(
                f"The FHIR server does not answer ({type(error).__name__}). Check its address, and "
                "that it runs."
            ) from None
        finally:
            timer.cancel()
        _require_taken(status, headers, _content(body))

    def close(self) -> None:
        """Ends its connections."""
        self._client.close()

    def _post(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        """Returns status, headers and the beginning of the answer."""
        with self._client.stream("POST", self._url, content=body) as answer:
            read = bytearray()
            for piece in answer.iter_bytes():
                read += piece
                if len(read) > _MOST_ANSWER:
                    break
            return answer.status_code, answer.headers, bytes(read[:_MOST_ANSWER])


def _content(body: bytes) -> dict[str, Any]:
    """Returns the answer's resource; an empty one for what is none."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _require_taken(status: int, headers: Mapping[str, str], content: Mapping[str, Any]) -> None:
    """Raises PeerUnavailable or PeerRefused unless the answer says that all is stored."""
    if 200 <= status < 300:
        if content.get("type") != "transaction-response":
            raise PeerRefused(
                "The server's answer is not that of a FHIR server to a transaction. Give the base "
                "address of a FHIR R4 server."
            )
        return
    why = ", ".join([str(status), *_issues(content)])
    if status in _PASSING or (status >= 500 and status not in _LASTING):
        raise PeerUnavailable(
            f"The FHIR server cannot take the report now ({why}). Send it again later.",
            retry_after_s=retry_after_s(headers.get("retry-after", "")) or None,
        )
    raise PeerRefused(f"The FHIR server refuses the report ({why}). {_remedy(status)}")


def _issues(content: Mapping[str, Any]) -> list[str]:
    """Returns the codes of an OperationOutcome's issues, each once."""
    issues = content.get("issue")
    codes = dict.fromkeys(
        str(issue.get("code"))
        for issue in (issues if isinstance(issues, list) else ())
        if isinstance(issue, dict)
    )
    return [code for code in codes if code in _ISSUES]


def _remedy(status: int) -> str:
    if status in (401, 403):
        return "Check ECLIP_FHIR_TOKEN, and what it allows."
    if status == 412:
        return "It has several resources of one identifier. Remove all but one."
    if status in (404, 405, 501):
        return "Check that the address is the base of a FHIR server that takes transactions."
    if status < 400:
        return "It redirects, which is not followed. Give the address that it redirects to."
    return "Its log says what it requires of a transaction."
