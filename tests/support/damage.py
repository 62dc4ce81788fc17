"""Damages DICOM files by a seed: cut at a place, or with one bit flipped."""

import random
from collections.abc import Iterator

from pydicom import uid

CANARY = "XQZJ"
"""Text of no word. Each value of `IDENTIFYING` repeats it, so a flipped bit cannot hide it."""
IDENTIFYING = {
    "PatientName": f"{CANARY}{CANARY}^{CANARY}",
    "PatientID": CANARY * 3,
    "PatientComments": CANARY * 20,
    "AccessionNumber": CANARY * 3,
    "StudyDescription": CANARY * 6,
    "InstitutionName": CANARY * 6,
    "ReferringPhysicianName": f"{CANARY}^{CANARY}",
    "BodyPartExamined": CANARY * 3,
}
"""Elements that must not be read in an error."""
_DELIMITER = 8
"""Bytes of the sequence delimiter that ends compressed pixels (PS3.5 A.4)."""


def pixels_start(data: bytes, syntax: uid.UID) -> int:
    """Returns where the pixels begin; of a deflated file, where the deflated bytes begin."""
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        return 144 + int.from_bytes(data[140:144], "little")  # the group length of the file meta
    tag = b"\xe0\x7f\x10\x00" if syntax != uid.ExplicitVRBigEndian else b"\x7f\xe0\x00\x10"
    return data.rindex(tag)


def cut(data: bytes, pixels: int, places: int) -> Iterator[bytes]:
    """Yields the file cut at places in its header and its pixels, and at the last byte of these."""
    end = len(data) - _DELIMITER
    header = places // 4
    yield from (data[: pixels * at // header] for at in range(header))
    inside = places - header - 1
    yield from (data[: pixels + (end - pixels) * at // inside] for at in range(inside))
    yield data[: end - 1]


def flipped(data: bytes, pixels: int, times: int, seed: int) -> Iterator[bytes]:
    """Yields the file with one bit flipped, by turns in its header and in its pixels."""
    rng = random.Random(seed)
    for turn in range(times):
        bounds = (0, pixels) if turn % 2 else (pixels, len(data))
        yield flip(data, 8 * rng.randrange(*bounds) + rng.randrange(8))


def flip(data: bytes, bit: int) -> bytes:
    """Returns the bytes with this bit, counted from the first byte's lowest, turned over."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
