"""Finds the key that a caller sends, among those of the settings and of the key file."""

import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from service.access.key_file import digest, read_keys
from service.errors import KeyExpired, ScopeMissing, SettingInvalid
from service.settings import Scope
from service.telemetry import KEY_FILE_GOOD, log

_NAMED = 12
"""Digits of its digest that name a key which the settings give no name."""
_IMPLIED: dict[Scope, Scope] = {"metrics": "read"}
"""Scope → another scope that opens the same and more."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key that the server knows, without the key itself."""

    name: str
    digest: str
    scopes: tuple[Scope, ...]
    expires: datetime | None = None

    def require(self, scope: Scope) -> None:
        """Raises KeyExpired or ScopeMissing unless the key opens what needs this scope."""
        if self.expires is not None and self.expires <= datetime.now(UTC):
            raise KeyExpired(
                f"This API key expired on {self.expires:%Y-%m-%d %H:%M %Z}. Ask the operator for "
                "a new one."
            )
        if scope not in self.scopes and _IMPLIED.get(scope) not in self.scopes:
            raise ScopeMissing(
                f"This API key lacks the scope `{scope}`. Ask the operator for a key that has it."
            )


class KeyRing:
    """All keys of a server. Used by one event loop.

    A change of the key file counts from the next request on. A file that cannot be read changes
    nothing: the keys that were read last still count, and the log and a metric say so. Raises
    SettingInvalid if it cannot be read at the start.
    """

    def __init__(self, configured: Mapping[str, tuple[Scope, ...]], path: Path | None) -> None:
        self._configured = [Key(sha[:_NAMED], sha, scopes) for sha, scopes in configured.items()]
        self._path, self._stamp = path, None if path is None else _stamp(path)
        self._filed = [] if path is None else _keys(path)
        KEY_FILE_GOOD.set(1)

    def find(self, key: str) -> Key | None:
        """Returns the key, expired or not; None if it is unknown."""
        self._read_again()
        sent = digest(key)
        same = [known for known in self._all() if hmac.compare_digest(known.digest, sent)]
        return same[0] if same else None

    def _all(self) -> Iterator[Key]:
        yield from self._configured
        yield from self._filed

    def _read_again(self) -> None:
        """Reads the key file if it has changed."""
        if self._path is None or (stamp := _stamp(self._path)) == self._stamp:
            return
        self._stamp = stamp
        try:
            self._filed = _keys(self._path)
        except SettingInvalid as error:
            KEY_FILE_GOOD.set(0)
            if isinstance(error.__cause__, OSError):  # may pass without a change of the file
                self._stamp = None
            log().error("key file not read: the keys read last still count", why=error.detail)
        else:
            KEY_FILE_GOOD.set(1)
            log().info("key file read", keys=len(self._filed))


def _keys(path: Path) -> list[Key]:
    return [
        Key(name, entry.sha256, entry.scopes, entry.expires)
        for name, entry in read_keys(path).items()
    ]


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Returns what differs between two versions of a file; None if there is no file."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino
