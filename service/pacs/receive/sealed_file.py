"""Writes and reads encrypted files a piece at a time: AES-256-GCM, padded to whole blocks.

A file is: 8 bytes that name the format, a nonce of 12 bytes, the encrypted content, a tag of 16
bytes. The content is followed by zeros and its length, so that the file's size tells it only to the
next block. The file's own name is authenticated with it: a file that was renamed does not open.
"""

import io
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import AEADDecryptionContext, Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import GCM

KEY_BYTES = 32
"""Bytes: the length of a key."""
BLOCK = 2**16
"""Bytes: the encrypted content is a multiple of this."""
_PIECE = 2**20
"""Bytes that are encrypted or decrypted at a time, a multiple of a block."""
_FORMAT = b"ECLIPSF1"
_NONCE, _TAG, _LENGTH = 12, 16, 8
_AROUND = len(_FORMAT) + _NONCE + _TAG


def sealed_size(content_bytes: int) -> int:
    """Returns the size of the file that such a content makes."""
    return _padded_size(content_bytes) + _AROUND


def seal(path: Path, name: str, key: bytes, content: bytes) -> None:
    """Writes the content to a new file that only its owner may read. Raises OSError.

    name: under which it will be read.
    """
    nonce = secrets.token_bytes(_NONCE)
    encryptor = Cipher(AES256(key), GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(_FORMAT + name.encode())
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(_FORMAT + nonce)
        for piece in _padded(content):
            file.write(encryptor.update(piece))
        file.write(encryptor.finalize() + encryptor.tag)


def unseal(path: Path, name: str, key: bytes) -> bytes:
    """Returns the content of a file.

    Raises cryptography's InvalidTag for a file that was changed, cut, renamed or written with
    another key, and OSError.
    """
    whole = io.BytesIO()
    with path.open("rb") as file:
        for piece in _opened(file, name, key):
            whole.write(piece)
    whole.seek(-_LENGTH, os.SEEK_END)
    whole.truncate(int.from_bytes(whole.read()))
    return whole.getvalue()


def holds(path: Path, name: str, key: bytes, content: bytes) -> bool:
    """Tells whether the file opens and has exactly this content. Raises OSError."""
    try:
        with path.open("rb") as file:
            pairs = zip(_opened(file, name, key), _padded(content), strict=True)
            return sum(piece != expected for piece, expected in pairs) == 0  # up to the tag
    except (InvalidTag, ValueError):
        return False


def _padded_size(content_bytes: int) -> int:
    return -(-(content_bytes + _LENGTH) // BLOCK) * BLOCK


def _padded(content: bytes) -> Iterator[bytes | memoryview]:
    """Yields the content, zeros and the content's length, in pieces."""
    view, total = memoryview(content), _padded_size(len(content))
    for start in range(0, total, _PIECE):
        size = min(_PIECE, total - start)
        piece: bytes | memoryview = view[start : start + size]
        if len(piece) < size:
            piece = bytes(piece).ljust(size, b"\0")
        if start + size == total:
            piece = bytes(piece[:-_LENGTH]) + len(content).to_bytes(_LENGTH)
        yield piece


def _opened(file: BinaryIO, name: str, key: bytes) -> Iterator[bytes]:
    """Yields the pieces of `_padded`. They count once all were read: the last raises InvalidTag."""
    left = os.fstat(file.fileno()).st_size - _AROUND
    if left <= 0 or left % BLOCK or file.read(len(_FORMAT)) != _FORMAT:
        raise InvalidTag
    decryptor = _decryptor(key, file.read(_NONCE), name)
    while left > 0:
        piece = file.read(min(_PIECE, left))
        if not piece:
            raise InvalidTag
        left -= len(piece)
        yield decryptor.update(piece)
    decryptor.finalize_with_tag(file.read(_TAG))


def _decryptor(key: bytes, nonce: bytes, name: str) -> AEADDecryptionContext:
    decryptor = Cipher(AES256(key), GCM(nonce)).decryptor()
    decryptor.authenticate_additional_data(_FORMAT + name.encode())
    return decryptor
