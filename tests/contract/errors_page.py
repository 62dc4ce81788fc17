"""Writes docs/errors.md from service/errors: run `make pages` after an error was changed."""

from collections.abc import Iterator
from pathlib import Path

from service.errors import EclipError

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
HEAD = """# Errors

Every error of the HTTP API is a problem (RFC 9457, `application/problem+json`) with the members
`type`, `title`, `status`, `detail` and `request_id`. `type` is stable: switch on it. `detail` says
what was wrong and what to do. An item of a batch that failed has the same `type`, `title` and
`detail`.

Paths and methods that do not exist answer 404 and 405 with the type `about:blank`. A defect of the
service answers 500 with the type `urn:eclip:internal`; report it with its `request_id`.

This page is generated from [service/errors](../service/errors) by `make pages`.

| type | status | title | meaning |
|---|---|---|---|
"""


def document() -> str:
    """Returns the page for the errors as they are in the code."""
    package = "service.errors"
    errors = (each for each in _descendants(EclipError) if each.__module__.startswith(package))
    rows = sorted((error.status, error.type, error) for error in errors)
    return HEAD + "".join(
        f"| `urn:eclip:{kind}` | {status} | {error.title} "
        f"| {' '.join((error.__doc__ or '').split())} |\n"
        for status, kind, error in rows
    )


def _descendants(error: type[EclipError]) -> Iterator[type[EclipError]]:
    for child in error.__subclasses__():
        yield child
        yield from _descendants(child)


if __name__ == "__main__":
    PAGE.write_text(document(), encoding="utf-8")
