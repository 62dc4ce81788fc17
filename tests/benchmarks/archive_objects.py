"""Makes the radiographs of the archive benchmark: one in every syntax, and an archive of a mix.

All pixels follow from seeds: a phantom, enlarged, with grain. Grain of 10 of 4,096 levels lets
JPEG-LS and JPEG 2000 compress to two fifths of 16 bits a pixel, as they do with radiographs. Where
dcmtk is installed, it makes the lossless files that it can make; imagecodecs and pydicom make the
rest (`tests.support.archive`).
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom import uid

from tests.support import archive
from tests.support.archive import (
    ENCODERS,
    JPEG_XL,
    JPEG_XL_FROM_JPEG,
    JPEG_XL_LOSSLESS,
    archived,
)
from training.data.phantom import PhantomConfig, phantom

BITS, GRAIN = 12, 10
SHAPE = (2500, 2048)
"""Rows and columns of the radiograph in every syntax: 5 megapixels."""
SHAPES = (SHAPE, (2140, 1760), (3056, 2544))
"""Those of the mixed archive, in turn: CR plates of 35×43 and 24×30 cm, and a flat detector."""
EIGHT_BITS = frozenset({uid.JPEGBaseline8Bit, JPEG_XL_FROM_JPEG})
MIX = {
    uid.ExplicitVRLittleEndian: 40,
    uid.ImplicitVRLittleEndian: 20,
    uid.RLELossless: 16,
    uid.JPEGLosslessSV1: 40,
    uid.JPEGLSLossless: 20,
    uid.JPEG2000Lossless: 36,
    uid.JPEG2000: 12,
    uid.HTJ2KLossless: 6,
    uid.JPEGBaseline8Bit: 10,
}
"""Transfer syntax → objects of 200. An assumption: no survey of hospitals' archives was found."""
NAMES = {
    uid.ImplicitVRLittleEndian: "Implicit VR LE",
    uid.ExplicitVRLittleEndian: "Explicit VR LE",
    uid.ExplicitVRBigEndian: "Explicit VR BE",
    uid.DeflatedExplicitVRLittleEndian: "Deflated",
    uid.RLELossless: "RLE Lossless",
    uid.JPEGBaseline8Bit: "JPEG, 8 bits",
    uid.JPEGExtended12Bit: "JPEG, 12 bits",
    uid.JPEGLossless: "JPEG Lossless",
    uid.JPEGLosslessSV1: "JPEG Lossless SV1",
    uid.JPEGLSLossless: "JPEG-LS Lossless",
    uid.JPEGLSNearLossless: "JPEG-LS Near-Lossless",
    uid.JPEG2000Lossless: "JPEG 2000 Lossless",
    uid.JPEG2000: "JPEG 2000",
    uid.HTJ2KLossless: "HTJ2K Lossless",
    uid.HTJ2KLosslessRPCL: "HTJ2K Lossless RPCL",
    uid.HTJ2K: "HTJ2K",
    JPEG_XL_LOSSLESS: "JPEG XL Lossless",
    JPEG_XL_FROM_JPEG: "JPEG XL from JPEG",
    JPEG_XL: "JPEG XL",
}
"""Transfer syntax → its name in the tables."""
DCMTK = {
    uid.RLELossless: ("dcmcrle",),
    uid.JPEGLossless: ("dcmcjpeg", "+el"),
    uid.JPEGLosslessSV1: ("dcmcjpeg", "+e1"),
    uid.JPEGLSLossless: ("dcmcjpls", "+el"),
}
"""Syntaxes that dcmtk makes without loss → its command."""

Pixels = np.ndarray


def every_syntax(folder: Path) -> dict[str, Path]:
    """Makes the same radiograph in every syntax, and returns each one's file by its name."""

    def write(draft: Path) -> None:
        pixels = radiograph(SHAPE, seed=0)
        for syntax in NAMES:
            (draft / f"{syntax}.dcm").write_bytes(dicom(syntax, pixels, seed=0))

    made = _once(folder, "syntaxes", write)
    return {name: made / f"{syntax}.dcm" for syntax, name in NAMES.items()}


def mixed_archive(folder: Path, count: int) -> Path:
    """Makes so many objects of `MIX`, each of another patient, and returns their folder."""

    def write(draft: Path) -> None:
        seeds = range(1, count + 1)
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(_write_one, [draft] * count, mix(count), seeds))

    return _once(folder, f"mixed-{count}", write)


def mix(count: int) -> list[uid.UID]:
    """Returns the syntaxes of so many objects, in the shares of `MIX` and always in one order."""
    whole = [syntax for syntax, objects in MIX.items() for _ in range(objects)]
    taken = [whole[(2 * number + 1) * len(whole) // (2 * count)] for number in range(count)]
    return [taken[place] for place in np.random.default_rng(0).permutation(count)]


def radiograph(shape: tuple[int, int], seed: int) -> Pixels:
    """Returns stored values of 12 bits, uint16[rows, columns]."""
    drawn = Image.fromarray(phantom(PhantomConfig(size=256), seed).image.astype(np.float32))
    smooth = np.asarray(drawn.resize(shape[::-1], Image.Resampling.BICUBIC))
    grain = np.random.default_rng(seed).standard_normal(shape, np.float32)
    return np.clip(100 + 15 * smooth + GRAIN * grain, 0, 2**BITS - 1).astype(np.uint16)


def dicom(syntax: uid.UID, pixels: Pixels, seed: int) -> bytes:
    """Returns the file: CR or DX, a third as MONOCHROME1, and a window that leaves some values out.

    The patient, the study and the image follow from the seed.
    """
    inverse = seed % 3 == 2
    stored = 2**BITS - 1 - pixels if inverse else pixels
    levels = 16 if syntax in EIGHT_BITS else 1
    centre = (2**BITS - 1 - 2000 if inverse else 2000) // levels
    elements = {
        "PatientID": f"P{seed:05}",
        "PatientName": f"Phantom^{seed:05}",
        "StudyInstanceUID": uid.generate_uid(entropy_srcs=["study", str(seed)]),
        "SOPInstanceUID": uid.generate_uid(entropy_srcs=["image", str(seed)]),
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PhotometricInterpretation": "MONOCHROME1" if inverse else "MONOCHROME2",
        "RescaleIntercept": "0",
        "RescaleSlope": "1",
        "WindowCenter": str(centre),
        "WindowWidth": str(3200 // levels),
        "ImagerPixelSpacing": ["0.168", "0.168"],
    }
    if seed % 2:
        digital = {"Modality": "DX", "SOPClassUID": uid.DigitalXRayImageStorageForPresentation}
        elements |= digital | {"PresentationIntentType": "FOR PRESENTATION"}
    command = DCMTK.get(syntax, ("",))
    if shutil.which(command[0]):
        return _by_dcmtk(command, archived(uid.ExplicitVRLittleEndian, stored, BITS, **elements))
    return archived(syntax, stored, BITS, **elements)


def maker(syntax: uid.UID) -> str:
    """Returns the name of what makes a syntax's file here."""
    if shutil.which(DCMTK.get(syntax, ("",))[0]):
        return "dcmtk"
    return "imagecodecs" if syntax in ENCODERS else "pydicom"


def _by_dcmtk(command: tuple[str, ...], native: bytes) -> bytes:
    with tempfile.TemporaryDirectory() as scratch:
        before, after = Path(scratch, "native.dcm"), Path(scratch, "compressed.dcm")
        before.write_bytes(native)
        subprocess.run([*command, before, after], check=True)
        return after.read_bytes()


def _write_one(folder: Path, syntax: uid.UID, seed: int) -> None:
    shape = SHAPES[seed % len(SHAPES)]
    (folder / f"{seed:04}.dcm").write_bytes(dicom(syntax, radiograph(shape, seed), seed))


def _once(folder: Path, name: str, write: Callable[[Path], None]) -> Path:
    """Returns the folder of this name. One that the same code made is kept."""
    code = Path(__file__).read_bytes() + Path(archive.__file__).read_bytes()
    made = folder / f"{name}-{hashlib.sha256(code).hexdigest()[:8]}"
    if not made.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            draft = Path(scratch, name)
            draft.mkdir()
            write(draft)
            draft.rename(made)
    return made
