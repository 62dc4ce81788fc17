"""Renders DICOM files with dcmtk, which shares no code with the service, and compares renditions.

`tests.support.reference_cases` has the files. Debian's dcmtk reads no JPEG 2000, HTJ2K, JPEG XL and
no functional groups: there it renders a file with the same pixels and a header that says the same.
"""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from service.imaging.decode import ImageLimits, decode

RANGE, WINDOW, VOI_LUT = ("+Wm",), ("+Wi", "1"), ("+Wl", "1")
"""dcmtk's options for the range of values, for the first window and for the first VOI LUT."""
TOOLS = ("dcmj2pnm", "dcml2pnm", "dcmconv", "dcmcrle", "dcmcjpeg", "dcmdjpeg", "dcmcjpls")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
_JPEG_LS = (b"1.2.840.10008.1.2.4.80", b"1.2.840.10008.1.2.4.81")


@dataclass(frozen=True)
class Case:
    """A file, and what dcmtk is to render.

    options: of dcmtk. same: a file that says the same in a way that dcmtk reads; by default the
    file itself. clause: where dcmtk renders the file otherwise, the clause of the standard that
    `same` follows. size: columns and rows of the image in square pixels.
    """

    file: bytes
    options: Sequence[str] = RANGE
    same: bytes | None = None
    clause: str = ""
    size: tuple[int, int] | None = None

    def difference(self) -> float:
        """The greatest difference of a pixel in gray levels of 256."""
        expected = rendered(self.same or self.file, self.options)
        if self.size:
            expected = np.asarray(
                Image.fromarray(expected).resize(self.size, Image.Resampling.BILINEAR)
            )
        got = decode(self.file, ImageLimits()).pixels
        scale = np.iinfo(got.dtype).max / 255
        return float(np.abs(got / scale - expected.astype(float)).max())


def rendered(data: bytes, options: Sequence[str]) -> np.ndarray:
    """Returns dcmtk's rendition without overlays, float32[rows, columns] from 0 to 255."""
    tool = "dcml2pnm" if any(uid in data[:1000] for uid in _JPEG_LS) else "dcmj2pnm"
    with TemporaryDirectory() as folder:
        source, target = Path(folder, "image.dcm"), Path(folder, "image.pgm")
        source.write_bytes(data)
        subprocess.run([tool, "-q", "-O", "+G", "+opw", *options, source, target], check=True)
        kind, columns, rows, most, *values = [
            word
            for line in target.read_text("ascii").splitlines()
            for word in line.partition("#")[0].split()
        ]
    assert kind == "P2"
    levels = np.array(values, np.float32).reshape(int(rows), int(columns))
    return levels * np.float32(255 / int(most))


def by_dcmtk(tool: str, data: bytes, *options: str) -> bytes:
    """Returns the file that a tool of dcmtk makes of a file."""
    with TemporaryDirectory() as folder:
        source, target = Path(folder, "image.dcm"), Path(folder, "made.dcm")
        source.write_bytes(data)
        subprocess.run([tool, *options, source, target], check=True, capture_output=True)
        return target.read_bytes()


def grouped(dataset: Dataset, group: str, *, shared: bool = False, **elements: object) -> Dataset:
    """Adds a functional group to a dataset: of its first frame, or shared by all (PS3.3 C.7.6.16).

    Returns the dataset.
    """
    keyword = f"{'Shared' if shared else 'PerFrame'}FunctionalGroupsSequence"
    if keyword not in dataset:
        setattr(dataset, keyword, Items([Dataset()]))
    macro = Dataset()
    for name, value in elements.items():
        setattr(macro, name, value)
    setattr(dataset[keyword].value[0], group, Items([macro]))
    return dataset
