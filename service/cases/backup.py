"""Copies an embedded library while a server writes to it, and brings such a copy back.

A backup is a folder that looks like a data directory. It is of one moment, in which this process
holds the library's lock of writers: what the engine's files then are is what a killed process
leaves, and the engine opens that. Renditions never change, so most are linked before that moment.

    2026-12-01T14-00-00Z/identifiers.key, audit/, pacs/, NAME.….pulled     of shortly before it
    2026-12-01T14-00-00Z/NAME/collection/, NAME.count, renditions/NAME/    of the moment
"""

import fcntl
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from service.cases.places import renditions_of
from service.cases.snapshot import (
    bytes_on_disk,
    require_room,
    room_for_snapshot,
    take_snapshot,
)
from service.cases.writing import WriteLock
from service.disk import free_bytes
from service.errors import StoreFull, StoreUnavailable
from service.files import disk_errors, make_folder, written_atomically

_KEY = "identifiers.key"
_BESIDE = ("audit/*.jsonl", "pacs/*.jsonl")
"""What a data directory holds besides its libraries, and what may be older than these."""
_ZEROS = bytes(2**16)
"""As many bytes are copied at a time; where they are these, the copy has a hole."""
_OF_A_DISK = "lost+found"
"""A folder that a filesystem makes for itself."""


@dataclass(frozen=True, slots=True)
class Backup:
    """A finished backup. held_s: seconds for which writes waited."""

    path: Path
    held_s: float


def back_up(data_dir: Path, name: str, folder: Path, reserve: int = 0) -> Backup:
    """Makes a backup of the library `name` in `folder`, whole or not at all.

    A process may have the library open. reserve: bytes that are left on the disk of `folder`;
    half of them are left free on that of the data directory, whose ballast has the other half.
    Raises StoreUnavailable if there is no library, if it is another user's and this is root, or if
    another backup is being made in `folder`; and StoreFull.
    """
    library = data_dir / name
    if not (library / "collection").is_dir():
        raise StoreUnavailable(
            "The data directory has no case library to back up. Check ECLIP_DATA_DIR and "
            "ECLIP_COLLECTION."
        )
    if not (data_dir / _KEY).is_file():
        raise StoreUnavailable(
            "identifiers.key is missing, without which a backup is of no use. Restore it first."
        )
    if os.geteuid() == 0 and library.stat().st_uid != 0:  # which could not remove root's files
        raise StoreUnavailable("Run this as the user of the server, not as root.")
    with disk_errors("the backup"):
        make_folder(folder)
        with _only_backup(folder):
            path, newest = _new_name(folder), max(_backups(folder), default=folder)
            with written_atomically(path) as draft:
                draft.mkdir(mode=0o700)
                held_s = _copy_all(data_dir, name, draft, newest, reserve)
    return Backup(path, held_s)


def _copy_all(data_dir: Path, name: str, draft: Path, newest: Path, reserve: int) -> float:
    """Copies what a backup has. Returns the seconds for which writes waited."""
    library, renditions = data_dir / name, renditions_of(Path(), name).folder
    link_all = partial(_link_all, data_dir / renditions, draft / renditions, newest / renditions)
    with WriteLock(library).held():
        require_room(library, reserve)
    _copy_beside(data_dir, name, draft)
    link_all()
    with room_for_snapshot(library) as snapshot:
        with WriteLock(library).held():
            began = time.monotonic()
            require_room(library, reserve)  # renditions may have taken long
            take_snapshot(library / "collection", snapshot)
            link_all()
            _copy_found(data_dir, f"{name}.count", draft)
            _copy_found(data_dir, f"{renditions}/notes/*.json", draft)
            held_s = time.monotonic() - began
        _require_room(draft, reserve + bytes_on_disk(snapshot.rglob("*")))
        _copy_tree(snapshot, draft / name / "collection")
    _copy(data_dir / _KEY, draft / _KEY)  # last: what lacks it is no backup
    return held_s


def restore(backup: Path, data_dir: Path) -> None:
    """Copies a backup into an empty data directory; the key last, so that no server starts before.

    Raises StoreUnavailable if it is no backup, or the data directory holds anything.
    """
    if not (backup / _KEY).is_file() or not any(backup.glob("*/collection")):
        raise StoreUnavailable(
            "The folder is no backup. Name a folder that `eclip backup` made, such as "
            "backups/2026-12-01T14-00-00Z."
        )
    with disk_errors("the data directory"):
        make_folder(data_dir)
        if any(each.name != _OF_A_DISK for each in data_dir.iterdir()):
            raise StoreUnavailable(
                "The data directory is not empty, and nothing in it is overwritten. Set "
                "ECLIP_DATA_DIR to a new or empty directory."
            )
        for each in sorted(backup.iterdir(), key=lambda path: path.name == _KEY):
            with written_atomically(data_dir / each.name) as draft:
                (_copy_tree if each.is_dir() else _copy)(each, draft)


@contextmanager
def _only_backup(folder: Path) -> Iterator[None]:
    """Excludes others from the folder, and removes what killed ones left in it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise StoreUnavailable(
            "Another backup is being made in this folder. Run this again when it has ended."
        ) from None
    try:
        for draft in folder.glob(".*Z.*.part"):
            shutil.rmtree(draft)
        yield
    finally:
        os.close(descriptor)


def _new_name(folder: Path) -> Path:
    while (path := folder / f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}").exists():
        time.sleep(0.1)
    return path


def _backups(folder: Path) -> Iterator[Path]:
    return folder.glob("????-??-??T??-??-??Z")


def _copy_beside(data_dir: Path, name: str, draft: Path) -> None:
    """Copies what is older than the library in a backup: a list of what was pulled, above all.

    The list names what the library has, so the library must not be the older one.
    """
    for file in data_dir.glob(f"{name}.*.pulled"):
        try:
            with (
                closing(sqlite3.connect(file)) as source,
                closing(sqlite3.connect(draft / file.name)) as target,
            ):
                source.backup(target)
        except sqlite3.Error as error:
            raise StoreUnavailable(
                "The list of studies that were pulled from a PACS (NAME.….pulled) cannot be read. "
                "Delete it, and the next `eclip index` of that PACS reads everything again."
            ) from error
    for pattern in _BESIDE:
        _copy_found(data_dir, pattern, draft)


def _copy_found(data_dir: Path, pattern: str, draft: Path) -> None:
    for file in data_dir.glob(pattern):
        target = draft / file.relative_to(data_dir)
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # removed meanwhile, as a day of the audit log may be
            _copy(file, target)


def _link_all(source: Path, target: Path, newest: Path) -> None:
    """Makes the JPEGs in `target` those that are in `source`. newest: an earlier backup's."""
    for folder in source.glob("??"):
        kept = target / folder.name
        kept.mkdir(parents=True, exist_ok=True)
        there, held = _names(folder), _names(kept)
        for name in held - there:
            (kept / name).unlink()
        for name in there - held:
            with suppress(FileNotFoundError):  # removed meanwhile
                _link(folder / name, kept / name, newest / folder.name / name)


def _names(folder: Path) -> set[str]:
    return {name for name in os.listdir(folder) if name.endswith(".jpg")}  # noqa: PTH208 - fast


def _link(source: Path, target: Path, earlier: Path) -> None:
    """Links a file that never changes, or a copy in an earlier backup; copies it if it must."""
    for each in (source, earlier):
        with suppress(OSError):  # on another disk, or not there
            target.hardlink_to(each)
            return
    _copy(source, target)


def _copy_tree(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for each in source.iterdir():
        (_copy_tree if each.is_dir() else _copy)(each, target / each.name)


def _copy(source: Path, target: Path) -> None:
    """Copies a file's content, with holes for its zeros."""
    with source.open("rb") as read, target.open("xb") as written:
        while chunk := read.read(len(_ZEROS)):
            if chunk == _ZEROS[: len(chunk)]:
                written.seek(len(chunk), os.SEEK_CUR)
            else:
                written.write(chunk)
        written.truncate()


def _require_room(folder: Path, needed: int) -> None:
    if free_bytes(folder) < needed:
        raise StoreFull(
            f"The disk of the backups is too full: {free_bytes(folder) // 2**20} MiB are free, and "
            f"{needed // 2**20 + 1} MiB are needed. Free some room on it, or name another folder."
        )
