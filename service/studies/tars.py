"""Finds the files in a tar, and reads them by their place in it. Nothing is ever unpacked.

Python's reader takes a damaged header for the end of the tar. This one goes on behind it and says
where the damage is, so that one bad header costs one file.
"""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from service.errors import SourceUnreadable, StudyInvalid

BLOCK = 512
_END = bytes(2 * BLOCK)
_CHUNK = 2**20
_TYPE = 156
"""Place of the type in a header."""
_GZIP = b"\x1f\x8b"
_NO_TAR = "Cannot read the tar: it is not a tar file, or it was cut short. Write it again."


@dataclass(frozen=True, slots=True)
class Member:
    """One file in a tar: its name without a leading `/` or `./`, and where its bytes lie."""

    name: str
    offset: int
    size: int
    fault: str | None = None
    """Why it cannot be read."""


def members(path: Path) -> tuple[Member, ...]:
    """Returns the files of a tar in their order; folders are left out.

    Raises SourceUnreadable for what is no tar, is compressed, or was cut short.
    """
    facts = path.stat()
    return _members(path, facts.st_size, facts.st_mtime_ns)


def read_member(path: Path, name: str, limit: int = -1) -> bytes:
    """Returns the bytes of a file in a tar. Raises StudyInvalid if the tar has no such file.

    limit: how many bytes of the beginning are wanted; -1: all.
    """
    facts = path.stat()
    member = _by_name(path, facts.st_size, facts.st_mtime_ns).get(name)
    if member is None:
        raise StudyInvalid("The tar has no file of an image's name. Write it again.")
    with path.open("rb") as file:
        file.seek(member.offset)
        return file.read(member.size if limit < 0 else min(member.size, limit))


@lru_cache(maxsize=2)
def _by_name(path: Path, size: int, changed: int) -> dict[str, Member]:
    return {m.name: m for m in _members(path, size, changed) if m.fault is None}


@lru_cache(maxsize=2)
def _members(path: Path, size: int, _changed: int) -> tuple[Member, ...]:
    _check_ends(path, size)
    found, end = list[Member](), 0
    with path.open("rb") as file:
        try:
            for info, behind in _headers(path, size):
                found += _damage(file, end, info.offset)
                end = behind
                if not info.isdir():
                    found.append(_member(info, size))
        except tarfile.TarError:  # not even the first header
            raise SourceUnreadable(_NO_TAR) from None
        return (*found, *_damage(file, end, size))


def _headers(path: Path, size: int) -> Iterator[tuple[tarfile.TarInfo, int]]:
    """Yields each member and where the next one may begin, which its size alone does not say."""
    with tarfile.open(path, "r:", ignore_zeros=True, errors="surrogateescape") as tar:
        while tar.offset < size:
            try:
                info = tar.next()
            except (tarfile.TarError, ValueError, OverflowError):  # a header about the next one
                tar.offset += BLOCK
            else:
                if info is None:
                    return
                yield info, tar.offset


def _check_ends(path: Path, size: int) -> None:
    with path.open("rb") as file:
        if file.read(len(_GZIP)) == _GZIP:
            raise SourceUnreadable("The tar is compressed. Unpack it with gunzip, then index it.")
        file.seek(-min(len(_END), size), os.SEEK_END)
        if file.read() != _END:
            raise SourceUnreadable(_NO_TAR)


def _member(info: tarfile.TarInfo, size: int) -> Member:
    name = "/".join(part for part in info.name.split("/") if part not in ("", "."))
    fault = None
    if info.issparse() or not info.isfile():
        fault = "It is a link, a device or a sparse file. Write the file itself into the tar."
    elif info.offset_data + info.size > size:
        fault = "It was cut short. Write it again."
    return Member(name or f"byte {info.offset}", info.offset_data, info.size, fault)


def _damage(file: BinaryIO, start: int, end: int) -> list[Member]:
    """Returns a faulty member if anything but zeros or a global header lies between two members."""
    if start >= end:
        return []
    file.seek(start)
    head = file.read(min(BLOCK, end - start))
    if head[_TYPE : _TYPE + 1] == tarfile.XGLTYPE:  # as `git archive` writes; it names no file
        return []
    file.seek(start)
    for offset in range(start, end, _CHUNK):
        if file.read(min(_CHUNK, end - offset)).strip(b"\0"):
            return [
                Member(f"byte {start}", start, 0, "A part of the tar is damaged. Write it again.")
            ]
    return []
