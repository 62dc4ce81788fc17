"""Keeps received objects on the disk, encrypted, until they are processed."""

import errno
import fcntl
import os
import re
import secrets
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidTag

from service.disk import Reserve
from service.errors import ObjectDamaged, SettingInvalid, StoreFull, StoreUnavailable
from service.files import disk_errors, sync, written_atomically
from service.imaging.deidentify import load_or_create_key
from service.pacs.receive.sealed_file import KEY_BYTES, holds, seal, sealed_size, unseal
from service.settings import Settings
from service.telemetry import SPOOL_BYTES, SPOOL_DAMAGED, log

FULL_RETRY_S = 30.0
"""Seconds after which a refused object may find room."""
_WHAT = "the received objects"
_NAME = re.compile(r"[0-9a-f]{12}-[0-9a-f]{32}")
"""A number that counts arrivals, and random digits."""
_CHECK = "key.check"
"""Name of a file that opens with the right key only."""
_LOST = frozenset({errno.ENOENT, errno.EIO})
"""Numbers of the errors of a file that is gone, or of a bad sector."""
_ROOM = 64 * 2**20
"""Bytes of room below which the spool counts as full, or a quarter of its limit if that is less.
So an association that is accepted has room for an object."""


class Spool:
    """Encrypted files in a folder of their own, of which one process is the owner. Thread-safe.

    A file's name is a number that counts arrivals and 32 random digits. Its size is a multiple of
    64 KiB. Neither tells anything of a patient. A file that cannot be decrypted any more is moved
    to the subfolder `damaged`, is counted, and stays there for the operator.

    key: 32 bytes. limit_bytes: of all files, damaged ones included. reserve_bytes: half of them
    stay free on the disk.

    Raises StoreUnavailable if another process has the folder, or if it was written with another
    key: nothing is set aside then. Leftovers of a crash are removed.
    """

    def __init__(
        self, folder: Path, key: bytes, limit_bytes: int, *, reserve_bytes: int = 0
    ) -> None:
        self._folder, self._key, self._limit = folder, key, limit_bytes
        self._damaged_folder = folder / "damaged"
        self._reserve = Reserve(folder, reserve_bytes)
        self._changing = threading.Lock()
        with disk_errors(_WHAT):
            self._make_private_folders()
            self._lock: int | None = _locked(folder / "lock")
        try:
            with disk_errors(_WHAT):
                self._check_key()
                _sweep(folder)
                self._sizes = _sizes_of(folder)
                self._damaged_sizes = _sizes_of(self._damaged_folder)
        except BaseException:
            self.close()
            raise
        self._arrivals = max((_arrival(name) for name in self._all_names()), default=0)
        self._held = sum(self._sizes.values()) + sum(self._damaged_sizes.values())
        self._measure()

    def close(self) -> None:
        """Lets another process open the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def keep(self, content: bytes) -> str:
        """Writes the content and returns its name. It is on the disk, read back, once this returns.

        Raises StoreFull beyond the limit and on a full disk, and StoreUnavailable.
        """
        size = sealed_size(len(content))
        name = self._take_room(size)
        path = self._folder / name
        try:
            self._write(path, name, content)
        except BaseException:
            with self._changing:
                self._held -= size
            raise
        with self._changing:
            self._sizes[name] = size
            self._measure()
        return name

    def names(self) -> list[str]:
        """Returns the names of what is kept, in order of arrival."""
        with self._changing:
            return sorted(self._sizes)

    def read(self, name: str) -> bytes:
        """Returns the content.

        Raises ObjectDamaged if it is gone, or cannot be read or decrypted: the file is set aside,
        and its name is not kept any more. Raises StoreUnavailable for other errors of the disk.
        """
        try:
            with disk_errors(_WHAT):
                return self._unsealed(name)
        except InvalidTag:
            self._set_aside(name)
            raise ObjectDamaged(
                "A received object cannot be read: its file is damaged or gone. If it is there, it "
                "is now in the folder `damaged` of the spool. Check the disk, and send the object "
                "again."
            ) from None

    def drop(self, names: Iterable[str]) -> None:
        """Removes files; names that are not kept are passed over. Raises StoreUnavailable."""
        with disk_errors(_WHAT):
            for name in names:
                if name in self._sizes:
                    (self._folder / name).unlink(missing_ok=True)
                    with self._changing:
                        self._held -= self._sizes.pop(name, 0)
            sync(self._folder)
        self._measure()

    @property
    def held_bytes(self) -> int:
        """Bytes of all files."""
        return self._held

    @property
    def full(self) -> bool:
        """Whether there is no room for a large object, by the limit or on the disk."""
        room = min(_ROOM, self._limit // 4)
        return self._held + room > self._limit or not self._has_disk(room)

    @property
    def damaged(self) -> int:
        """Number of files that were set aside."""
        return len(self._damaged_sizes)

    def _unsealed(self, name: str) -> bytes:
        try:
            return unseal(self._folder / name, name, self._key)
        except OSError as error:
            if error.errno in _LOST:
                raise InvalidTag from error
            raise

    def _make_private_folders(self) -> None:
        self._damaged_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.chmod(0o700)
        for folder in (self._damaged_folder, self._folder, self._folder.parent):
            sync(folder)

    def _check_key(self) -> None:
        """Raises StoreUnavailable if files wait that another key encrypted."""
        path = self._folder / _CHECK
        if path.exists() and holds(path, _CHECK, self._key, b""):
            return
        if _sizes_of(self._folder):
            raise StoreUnavailable(
                "The key of the spool is not the one that its files were encrypted with. Restore "
                "spool.key, or the file that ECLIP_SPOOL_KEY_FILE names. If the key is lost, the "
                "objects that wait are lost too: move the folder of the spool away, and send them "
                "again."
            )
        with written_atomically(path) as draft:
            seal(draft, _CHECK, self._key, b"")

    def _take_room(self, size: int) -> str:
        """Counts the size as held, and returns a new name. Raises StoreFull."""
        with disk_errors(_WHAT):
            self._reserve.require(size)
        with self._changing:
            if self._held + size > self._limit:
                raise StoreFull(
                    "Received objects that wait take all of ECLIP_SPOOL_BYTES. Wait until some are "
                    "processed, or raise it.",
                    retry_after_s=FULL_RETRY_S,
                )
            self._held += size
            self._arrivals += 1
            return f"{self._arrivals:012x}-{secrets.token_hex(16)}"

    def _write(self, path: Path, name: str, content: bytes) -> None:
        sound = False
        with disk_errors(_WHAT):
            try:
                with written_atomically(path) as draft:
                    seal(draft, name, self._key, content)
                sound = holds(path, name, self._key, content)
            finally:
                if not sound:
                    path.unlink(missing_ok=True)
        if not sound:
            raise StoreUnavailable(
                "The disk gave back other bytes than were written for a received object. Check the "
                "disk."
            )

    def _set_aside(self, name: str) -> None:
        with self._changing:
            size = self._sizes.pop(name, None)
            if size is None:  # by another thread
                return
            self._damaged_sizes[name] = size
        with suppress(OSError):
            (self._folder / name).rename(self._damaged_folder / name)
        log().error("received object damaged", damaged=self.damaged)
        self._measure()

    def _all_names(self) -> set[str]:
        return self._sizes.keys() | self._damaged_sizes.keys()

    def _has_disk(self, room: int) -> bool:
        try:
            return self._reserve.has(room)
        except StoreUnavailable:
            return False

    def _measure(self) -> None:
        spool = self._folder.name
        SPOOL_BYTES.labels(spool).set(self._held)
        SPOOL_DAMAGED.labels(spool).set(len(self._damaged_sizes))


def spool_key(settings: Settings) -> bytes:
    """Returns the key that received objects are encrypted with.

    It is in `spool_key_file`, or in `spool.key` of the data directory, where the first process to
    ask makes it. Raises SettingInvalid for a file that holds no key, and StoreUnavailable.
    """
    named = settings.spool_key_file
    path = named or settings.data_dir / "spool.key"
    setting = "The file of ECLIP_SPOOL_KEY_FILE" if named else "spool.key in the data directory"
    if named is not None and not named.is_file():
        raise SettingInvalid(
            f"{setting} cannot be read. Write 64 hexadecimal digits to it: `openssl rand -hex 32`."
        )
    try:
        with disk_errors("the key of the spool"):
            key = load_or_create_key(path)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise SettingInvalid(
            f"{setting} does not hold a key of 64 hexadecimal digits. Restore it from a backup: "
            "objects that wait on the disk cannot be read without it."
        )
    return key


def _locked(path: Path) -> int:
    """Returns the open file that makes this process the owner, until the process ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreUnavailable(
            "Another process has the spool of the data directory open. Stop it, or give this one "
            "another ECLIP_DATA_DIR."
        ) from None
    return descriptor


def _sweep(folder: Path) -> None:
    """Removes what a killed process was writing."""
    for draft in folder.glob(".*.part"):
        draft.unlink()


def _sizes_of(folder: Path) -> dict[str, int]:
    return {
        each.name: each.stat().st_size for each in folder.iterdir() if _NAME.fullmatch(each.name)
    }


def _arrival(name: str) -> int:
    return int(name.partition("-")[0], 16)
