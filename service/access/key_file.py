"""Reads and changes the key file: JSON of each key's name → its SHA-256, scopes and expiry.

A key is 256 random bits. Nobody can try so many, so a plain SHA-256 hides it as well as a slow hash
would, and costs each request a microsecond. The file holds no secret; who can write to it can let
others in.
"""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from service.errors import SettingInvalid
from service.files import make_folder, written_atomically
from service.settings import KeyHash, Scope

PREFIX = "eclip_"
"""Start of each key that is made here, by which programs that search for secrets know it."""
KEY_BYTES = 32
"""Random bytes of a key."""

_TAKES: dict[object, str] = {
    "name": "take 1 to 64 letters, digits, `.`, `_` or `-`, and begin with a letter or digit",
    "scopes": "name one or more of read, write, delete and metrics",
    "expires": "give a day, such as 2027-01-31, or a moment with its time zone",
}

KeyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


def _from_midnight(value: object) -> object:
    """Turns a day (2027-01-31) into its first moment in UTC; leaves everything else."""
    try:
        day = date.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return value
    return value if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC)


class KeyEntry(BaseModel):
    """One key of the file. `expires`: the moment from which it opens nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: KeyHash
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    expires: Annotated[AwareDatetime | None, BeforeValidator(_from_midnight)] = None


_FORM = TypeAdapter(dict[KeyName, KeyEntry])


def digest(key: str) -> str:
    """Returns the SHA-256 of a key, in hexadecimal."""
    return hashlib.sha256(key.encode()).hexdigest()


def read_keys(path: Path) -> dict[str, KeyEntry]:
    """Returns the keys of the file by name. Raises SettingInvalid if it cannot be read."""
    cause: OSError | None = None
    try:
        return _FORM.validate_json(path.read_bytes())
    except OSError as error:
        cause, why = error, f"{error.strerror}"
        if isinstance(error, FileNotFoundError):
            why += ". Make it with `eclip keys new NAME --scopes read,write`"
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
    raise SettingInvalid(f"The key file of ECLIP_KEY_FILE cannot be read: {why}.") from cause


def add_key(path: Path, name: str, entry: Mapping[str, object]) -> str:
    """Makes a key, adds its hash to the file and returns the key, which nothing keeps.

    entry: `scopes`, and `expires` or None. Raises SettingInvalid for a name that the file has, or
    an entry that has not the file's form.
    """
    key = PREFIX + secrets.token_urlsafe(KEY_BYTES)
    with _changed(path) as keys:
        if name in keys:
            raise SettingInvalid(
                f"The key file has a key `{name}`. Remove it first, or choose another name."
            )
        try:
            keys |= _FORM.validate_python({name: {"sha256": digest(key), **entry}})
        except ValidationError as error:
            place = error.errors()[0]["loc"]
            what = next((part for part in place if part in entry), "name")
            raise SettingInvalid(f"The key's {what}: {_TAKES[what]}.") from None
    return key


def remove_key(path: Path, name: str) -> None:
    """Removes a key from the file. Raises SettingInvalid if the file has no key of this name."""
    with _changed(path) as keys:
        if keys.pop(name, None) is None:
            raise SettingInvalid(
                f"The key file has no key `{name}`. `eclip keys list` shows all names."
            )


@contextmanager
def _changed(path: Path) -> Iterator[dict[str, KeyEntry]]:
    """Gives the keys of the file and writes them back. Commands at the same time take turns."""
    path = path.resolve()
    try:
        with _turn(path.parent):
            keys = read_keys(path) if path.exists() else {}
            yield keys
            _write(path, keys)
    except OSError as error:
        raise SettingInvalid(
            f"The key file of ECLIP_KEY_FILE cannot be written: {error.strerror}."
        ) from None


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Holds the folder, which is made if it is missing, until no other command does."""
    make_folder(folder)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(path: Path, keys: dict[str, KeyEntry]) -> None:
    """Replaces the file. It keeps its mode and owner; a new one is its owner's alone."""
    with written_atomically(path) as draft:
        draft.touch(mode=0o600)
        if path.exists():
            shutil.copymode(path, draft)
            _keep_owner(path, draft)
        plain = _FORM.dump_python(keys, mode="json", exclude_none=True)
        draft.write_text(json.dumps(plain, indent=2) + "\n")


def _keep_owner(path: Path, draft: Path) -> None:
    """Gives the draft the owner of the file, which may be the service's and the writer root."""
    owner = path.stat()
    if os.geteuid() == 0:
        os.chown(draft, owner.st_uid, owner.st_gid)
