"""A real HTTP server that speaks the OpenAI chat API as vLLM does, and misbehaves on request.

`with OpenAIServer.running() as server` serves until the block ends. By default it streams
`server.content` to every request and answers `/tokenize` with 404. A test changes what it does by
setting attributes; each is described where `OpenAIServer.__init__` sets it.
"""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

MODEL = {"id": "tiny", "object": "model", "created": 0, "owned_by": "us"}
GOOD = {
    "findings": [{"sentence": " Small left effusion. ", "evidence": [1]}],
    "impression": [{"sentence": "Effusion.", "evidence": [1, 7]}],
}
"""The report that is written unless a test says otherwise."""
PIECE = 7
"""Characters of one streamed piece."""
_CHUNK = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "tiny"}


class Handler(BaseHTTPRequestHandler):
    """Answers one request by the attributes of its server."""

    server: "OpenAIServer"
    left = False
    """Whether the client has left in the middle of this answer."""

    def do_GET(self) -> None:
        """`/v1/models`."""
        self.server.paths.append(self.path)
        if self.server.listing_trickles:
            self._trickle()
        else:
            models = {"object": "list", "data": self.server.models}
            self.answer(self.server.listing_status, self.server.listing or models)

    def do_POST(self) -> None:
        """`/tokenize` or `/v1/chat/completions`."""
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.paths.append(self.path)
        if self.path == "/tokenize":
            self._count(request["messages"])
        else:
            self.server.requests.append(request)
            self._complete(request)

    def answer(self, status: int, body: object) -> None:
        """Sends a whole answer: bytes as they are, anything else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        kind = "text/html" if data.lstrip().startswith(b"<") else "application/json"
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def hang(self) -> None:
        """Answers nothing until the server ends."""
        self.server.ending.wait()

    def hang_up(self) -> None:
        """Cuts the connection."""
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Stays silent."""

    def _count(self, messages: list[dict[str, str]]) -> None:
        if self.server.count:
            self.server.count(self)
        elif self.server.context is None:
            self.answer(404, {})
        else:
            size = {"count": words(messages), "max_model_len": self.server.context, "tokens": []}
            self.answer(200, size)

    def _complete(self, request: dict[str, Any]) -> None:
        server = self.server
        status = server.statuses.pop() if server.statuses else server.status
        if server.hangs:
            self.hang()
        elif server.most_passages is not None and len(shown(request)) > server.most_passages:
            self.answer(*server.too_long)
        elif server.raw is not None:
            self._stream_raw(server.raw)
        elif status != 200 or server.answer:
            self.answer(status, server.answer or {})
        else:
            self._stream(server.contents.pop(0) if server.contents else server.content)

    def _stream(self, content: str) -> None:
        """Streams the content in pieces, as server-sent events."""
        self._begin_stream("text/event-stream")
        for start in range(0, len(content), PIECE):
            if self.server.stalls_after is not None and start >= self.server.stalls_after:
                self._stall()
                return
            self._send_token(content[start : start + PIECE])
            if self.server.cuts_after is not None and start >= self.server.cuts_after:
                self.hang_up()
                return
        finish = self.server.finishes.pop(0) if self.server.finishes else self.server.finish
        if finish:
            self._send_event({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        self._send_event({"choices": []})
        self._send("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _stream_raw(self, pieces: list[bytes]) -> None:
        """Streams bytes as they are."""
        self._begin_stream("text/event-stream; charset=utf-8")
        for piece in filter(None, pieces):
            self._send_bytes(piece)
        self.wfile.write(b"0\r\n\r\n")

    def _stall(self) -> None:
        """Sends comments, or empty tokens, until the client leaves."""
        while self._goes_on():
            if self.server.stalls_with == "comments":
                self._send(": patience\n\n")
            elif self.server.stalls_with == "tokens":
                self._send_token("")

    def _trickle(self) -> None:
        """Sends a blank now and then until the client leaves."""
        self._begin_stream("application/json")
        while self._goes_on():
            self._send(" ")

    def _goes_on(self) -> bool:
        """Waits a little; whether the client is still there and the server goes on."""
        return not self.left and not self.server.ending.wait(0.02)

    def _begin_stream(self, content_type: str) -> None:
        self.send_response(200)
        self.send_header("content-type", content_type)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def _send_token(self, content: str) -> None:
        self._send_event({"choices": [{"index": 0, "delta": {"content": content}}]})

    def _send_event(self, members: dict[str, object]) -> None:
        self._send(f"data: {json.dumps(_CHUNK | members)}\n\n")

    def _send(self, text: str) -> None:
        self._send_bytes(text.encode())

    def _send_bytes(self, data: bytes) -> None:
        try:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()
        except OSError:
            self.left = True
            self.server.left.set()


class OpenAIServer(ThreadingHTTPServer):
    """The server; its attributes say how it behaves."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict[str, Any]] = []
        """Bodies of the chat requests so far."""
        self.paths: list[str] = []
        """Paths of all requests so far."""
        self.left = threading.Event()
        """Set once any client has left in the middle of an answer."""
        self.ending = threading.Event()
        """Set when the server ends, so that nothing hangs any longer."""

        self.models: list[dict[str, object]] = [MODEL]
        self.listing: object = None
        """Answer to `/v1/models`, instead of `models`."""
        self.listing_status = 200
        self.listing_trickles = False
        """Whether that answer comes byte by byte and never ends."""

        self.context: int | None = None
        """Words that the model's context holds; None: `/tokenize` is unknown."""
        self.count: Callable[[Handler], object] | None = None
        """Answers `/tokenize` instead."""
        self.most_passages: int | None = None
        """Passages in a prompt above which it is answered with `too_long`."""
        self.too_long: tuple[int, object] = (400, {"error": {"message": "maximum context length"}})
        """Status and body."""

        self.content = json.dumps(GOOD)
        """Text that is streamed."""
        self.contents: list[str] = []
        """Texts that are streamed first, one a request."""
        self.finish: str | None = "stop"
        """The `finish_reason` of a stream; None: it is never sent."""
        self.finishes: list[str] = []
        """Reasons that the first streams end with; then `finish`."""
        self.raw: list[bytes] | None = None
        """The pieces of a stream's body, instead of `content`."""
        self.headers: dict[str, str] = {}
        """Headers of every answer that is not a stream."""
        self.status = 200
        self.statuses: list[int] = []
        """Statuses of the first requests, the last first; then `status`."""
        self.answer: object = None
        """Answer that is sent instead of a stream."""
        self.hangs = False
        """Whether a chat request is never answered."""
        self.cuts_after: int | None = None
        """Characters of content after which the connection is cut."""
        self.stalls_after: int | None = None
        """Characters of content after which only `stalls_with` is sent, without an end."""
        self.stalls_with = "tokens"
        """`comments`: of server-sent events; `tokens`: empty ones; else nothing."""

    @property
    def url(self) -> str:
        """Base URL of the API."""
        return f"http://127.0.0.1:{self.server_port}/v1"

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Self]:
        """Serves until the block ends."""
        server = cls()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.ending.set()
            server.shutdown()
            thread.join()
            server.server_close()


def words(messages: list[dict[str, str]]) -> int:
    """Tokens of a prompt, as this server counts them: a token a word."""
    return len(" ".join(message["content"] for message in messages).split())


def shown(request: dict[str, Any]) -> list[int]:
    """The numbers of the passages that a chat request holds."""
    passages = json.loads(request["messages"][1]["content"])["passages"]
    return [passage["number"] for passage in passages]
