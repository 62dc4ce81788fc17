"""Chooses the media type of an answer by the request's `Accept` (RFC 9110, 12.5.1)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.request import parse_http_list

from python_multipart.multipart import parse_options_header

from service.errors import NotAcceptable

_FHIR_VERSIONS = {"4.0", "4.0.1"}
"""Values of the parameter `fhirVersion` that our FHIR has. No other parameter of a type counts."""


def negotiate(accept: str, offered: Sequence[str]) -> str:
    """Returns the offered media type that the client prefers. Raises NotAcceptable.

    The heaviest type wins. Of equal weights, the type wins that is named more exactly, then the one
    that is named first, then the one that is offered first. Without `Accept`, or if nothing of it
    can be read, it is the first that is offered.
    Example: "text/html, text/plain;q=0.9, */*;q=0.1" → "text/plain".
    """
    ranges = list(_ranges(accept))
    if not ranges:
        return offered[0]
    best = max(offered, key=lambda kind: _preference(kind, ranges))
    if not _preference(best, ranges)[0]:
        raise NotAcceptable(
            f"The answer has no form that `Accept` allows. Ask for {', '.join(offered[:-1])} or "
            f"{offered[-1]}."
        )
    return best


@dataclass(frozen=True, slots=True)
class _Range:
    """Media types that a client names. weight: 0 to 1, and 0 refuses. place: in the header."""

    kind: str
    weight: float
    place: int

    @property
    def exactness(self) -> int:
        """0 for `*/*`, 1 for `text/*`, 2 for a whole name."""
        return sum(part != "*" for part in self.kind.split("/"))

    def has(self, kind: str) -> bool:
        """Returns whether the media type is one of these."""
        parts = zip(self.kind.split("/"), kind.split("/"), strict=True)
        return all(ours in ("*", theirs) for ours, theirs in parts)


def _preference(kind: str, ranges: Sequence[_Range]) -> tuple[float, int, int]:
    """Returns weight, exactness and place of the most exact range that has the media type."""
    own = max(
        (each for each in ranges if each.has(kind)),
        key=lambda each: (each.exactness, -each.place),
        default=None,
    )
    return (0.0, 0, 0) if own is None else (own.weight, own.exactness, -own.place)


def _ranges(accept: str) -> Iterator[_Range]:
    """Yields what can be read of the header. Java's clients write "*; q=.2" for "*/*;q=0.2"."""
    for place, named in enumerate(parse_http_list(accept)):
        name, options = parse_options_header(named)
        kind = "*/*" if name == b"*" else name.decode("latin-1").strip().lower()
        weight = _weight(options.get(b"q", b"1"))
        if kind.count("/") != 1 or weight is None:
            continue
        other = options.get(b"fhirversion", b"4.0").decode("latin-1") not in _FHIR_VERSIONS
        yield _Range("none/none" if other else kind, weight, place)


def _weight(text: bytes) -> float | None:
    try:
        weight = float(text)
    except ValueError:
        return None
    return weight if 0 <= weight <= 1 else None
