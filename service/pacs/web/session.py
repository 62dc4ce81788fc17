"""Asks a DICOMweb service: with credentials, in bounded time, and again where that may help.

httpcore sends the requests. It reads no proxy and no password from the environment, follows no
redirect and keeps no cookie, so credentials go to the address that the operator named and nowhere
else. `dicomweb-client` is not used: it holds whole answers, ignores `Retry-After`, cannot be
bounded, and gives objects parsed instead of as they are stored. Tests compare with it.
"""

import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TypeVar
from urllib.parse import quote, urlencode

import httpcore2
import httpx2

from service.errors import PeerRefused, PeerUnavailable
from service.pacs.address import WebAddress
from service.pacs.tls import client_tls
from service.pacs.web.credentials import authorization
from service.pacs.web.refusals import Credentials, refusal, tls_refusal
from service.pacs.web.reply import Passing, Reply
from service.pacs.web.stream import TimedNetwork, within
from service.pacs_settings import PacsSettings
from service.retry_after import retry_after_s

T = TypeVar("T")
_BUSY = frozenset({408, 425, 429, 502, 503, 504})
"""Statuses of a service, or a proxy before it, that may answer the same request later."""
_LONGEST_PAUSE_S = 30.0
"""Seconds: the longest pause that is chosen here. `Retry-After` may ask for a longer one."""
_UNREACHABLE = "cannot be reached: check that it runs, and the host and port of its address"
_PLAIN = "*?,:/@!$'()"
"""Characters that a query may hold as they are (RFC 3986 3.4), of those that values of DICOM have.
Orthanc's plugin 1.7 finds nothing for `StudyDescription=Th%2A`."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often a service is asked.

    connect_s: seconds for a connection. silence_s: for the next bytes. answer_s: for one answer.
    tries: requests at most. pause_s: before the second request; doubled for each further one.
    total_s: for all of them and the pauses, also those that `Retry-After` asks for.
    """

    connect_s: float = 10
    silence_s: float = 60
    answer_s: float = 300
    tries: int = 4
    pause_s: float = 1
    total_s: float = 600


PATIENT = Patience()
"""For an archive that is read in bulk."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request. path: below the base address. query: names and values.

    answers: statuses that its reader takes, besides those of success.
    """

    path: Sequence[str]
    query: Sequence[tuple[str, str]] = ()
    accept: str = "application/dicom+json, application/json"
    method: str = "GET"
    content_type: str | None = None
    body: bytes | None = None
    answers: frozenset[int] = frozenset()


class WebSession:
    """Connections to one DICOMweb service. Thread-safe.

    Raises SettingInvalid for credentials that cannot be used.
    """

    def __init__(
        self, address: WebAddress, settings: PacsSettings, patience: Patience = PATIENT
    ) -> None:
        self._base, self._patience = httpx2.URL(address.url), patience
        self._credentials = Credentials.of(settings)
        self._authorization = authorization(settings)
        self._network, self._closed = TimedNetwork(), threading.Event()
        self._resume = 0.0
        """Monotonic time before which the service asked not to be asked, by any thread."""
        self._pool = httpcore2.ConnectionPool(
            ssl_context=client_tls(settings), max_connections=None, network_backend=self._network
        )

    def ask(self, question: Question, read: Callable[[Reply], T]) -> T:
        """Returns what `read` makes of the answer.

        read: is called again for each attempt. It raises Passing to have the request repeated.
        Raises PeerUnavailable, with `retry_after_s`, once the attempts or the time are used up, and
        PeerRefused for an answer that would not change.
        """
        end = time.monotonic() + self._patience.total_s
        for attempt in count(1):
            try:
                self._await_turn(end)
                return self._once(question, read, end - time.monotonic())
            except Passing as passing:
                pause = self._pause(attempt, passing)
                late = time.monotonic() + pause >= end
                if attempt >= self._patience.tries or late or self._closed.wait(pause):
                    raise PeerUnavailable(
                        f"The DICOMweb service {passing.what}. Check its address and that it runs, "
                        "then try again.",
                        retry_after_s=pause,
                    ) from None
        raise AssertionError("`count` has no end.")

    def close(self) -> None:
        """Ends the connections, and the requests that wait."""
        self._closed.set()
        self._network.end()
        self._pool.close()

    def _await_turn(self, end: float) -> None:
        """Waits as long as `Retry-After` asks of any thread. Raises Passing if it is too long."""
        resume = self._resume
        if resume >= end:
            raise Passing("is busy or away", resume - time.monotonic())
        self._closed.wait(max(0.0, resume - time.monotonic()))

    def _once(self, question: Question, read: Callable[[Reply], T], left: float) -> T:
        if self._closed.is_set():
            raise Passing("is not asked any more")
        try:
            with within(min(self._patience.answer_s, left)):
                return self._send(question, read)
        except httpcore2.ConnectTimeout:
            raise Passing(_UNREACHABLE) from None
        except httpcore2.TimeoutException:
            raise Passing("does not answer in time") from None
        except httpcore2.NetworkError as error:
            cause = next(iter(error.args), None)
            if isinstance(cause, ssl.SSLError) and (refused := tls_refusal(cause)):
                raise refused from None
            reached = not isinstance(error, httpcore2.ConnectError)
            raise Passing("broke the connection" if reached else _UNREACHABLE) from None
        except httpcore2.ProtocolError:
            raise Passing("broke off its answer, or does not speak HTTP") from None

    def _send(self, question: Question, read: Callable[[Reply], T]) -> T:
        times = self._patience
        timeout = {"connect": times.connect_s, "read": times.silence_s, "write": times.silence_s}
        with self._pool.stream(
            question.method,
            self._url(question),
            headers=self._headers(question),
            content=question.body,
            extensions={"timeout": timeout},
        ) as response:
            reply = Reply(response.status, _plain(response.headers), _pieces(response))
            self._check(reply, question)
            return read(reply)

    def _check(self, reply: Reply, question: Question) -> None:
        """Raises Passing, PeerRefused or PeerUnavailable unless the answer is to be read."""
        if reply.status in _BUSY:
            raise Passing("is busy or away", retry_after_s(reply.headers.get("retry-after", "")))
        if not 200 <= reply.status < 300 and reply.status not in question.answers:
            raise refusal(reply.status, self._credentials)
        if reply.headers.get("content-encoding", "identity").lower() != "identity":
            raise PeerRefused(
                "The DICOMweb service compresses its answers, though it was asked not to. Turn "
                "HTTP compression off there, or in the proxy before it."
            )

    def _headers(self, question: Question) -> list[tuple[str, str]]:
        headers = [
            ("Host", self._base.netloc.decode("ascii")),  # httpcore's own lacks IPv6's brackets
            ("User-Agent", "eclip"),
            ("Accept", question.accept),
            ("Accept-Encoding", "identity"),
        ]
        if self._authorization is not None:
            headers.append(("Authorization", self._authorization))
        if question.content_type is not None:
            headers.append(("Content-Type", question.content_type))
        return headers

    def _url(self, question: Question) -> httpcore2.URL:
        path = "".join(f"/{quote(part, safe='')}" for part in question.path)
        encoded = urlencode(question.query, quote_via=quote, safe=_PLAIN)
        query = f"?{encoded}" if encoded else ""
        return httpcore2.URL(
            scheme=self._base.raw_scheme,
            host=self._base.raw_host,
            port=self._base.port,
            target=self._base.raw_path.rstrip(b"/") + (path + query).encode(),
        )

    def _pause(self, attempt: int, passing: Passing) -> float:
        """Returns the seconds before the next attempt. Jitter keeps clients from coming at once."""
        if passing.retry_after_s is not None:
            wait = min(passing.retry_after_s, self._patience.total_s)
            self._resume = max(self._resume, time.monotonic() + wait)
            return passing.retry_after_s
        pause = min(self._patience.pause_s * 2.0 ** (attempt - 1), _LONGEST_PAUSE_S)
        return pause * random.uniform(0.75, 1.25)  # noqa: S311 — no secret


def _plain(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


def _pieces(response: httpcore2.Response) -> Iterator[bytes]:
    yield from response.iter_stream()
