"""Writes docs/errors.md from service/errors.py: run `make pages` after an error was changed."""

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

This page is generated from [service/errors.py](../service/errors.py) by `make pages`.

| type | status | title | meaning |
|---|---|---|---|
"""


def document() -> str:
    """Returns the page for the errors as they are in the code."""
    rows = sorted((error.status, error.type, error) for error, _ in _descendants(EclipError))
    return HEAD + "".join(
        f"| `urn:eclip:{kind}` | {status} | {error.title} "
        f"| {' '.join((error.__doc__ or '').split())} |\n"
        for status, kind, error in rows
    )


def tree() -> str:
    """Returns the tree of errors as it is drawn at the top of service/errors.py."""
    return "EclipError\n" + "\n".join(
        f"{'    ' * depth}{error.__name__:<{24 - 4 * depth}} {error.status}"
        for error, depth in _descendants(EclipError, 1)
    )


def _descendants(error: type[EclipError], depth: int = 0) -> Iterator[tuple[type[EclipError], int]]:
    for child in error.__subclasses__():
        yield child, depth
        yield from _descendants(child, depth + 1)


if __name__ == "__main__":
    PAGE.write_text(document(), encoding="utf-8")
