"""Defines the root of all errors of the service."""

from typing import Any, ClassVar


class EclipError(Exception):
    """Base of all errors of the service.

    type: the stable end of the URN. status: the HTTP status. detail: what was wrong and what to do.
    retry_after_s: seconds after which it may succeed. extensions: further members of the problem.
    """

    type: ClassVar[str]
    title: ClassVar[str]
    status: ClassVar[int]

    def __init__(self, detail: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.extensions: dict[str, Any] = {}

    @property
    def urn(self) -> str:
        """The stable identifier that a client may switch on."""
        return f"urn:eclip:{self.type}"
