"""Holds the tables of transfer syntaxes in docs/dicom.md true."""

import re
import shutil
import zlib

import numpy as np
import pytest
from pydicom import uid
from pydicom._uid_dict import UID_dictionary
from pydicom.encaps import encapsulate

from service.errors import ImageUnsupported
from service.imaging.decode import decode
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.service.imaging.dicom.conftest import LIMITS
from tests.support.archive import JPEG_XLS, LOSSY, SYNTAXES, archived, with_syntax
from tests.support.paths import ROOT
from tests.support.reference import by_dcmtk
from tests.support.reference_shapes import chest, stored

_PAGE = (ROOT / "docs/dicom.md").read_text(encoding="utf-8")
_ROWS = re.findall(r"^\| (1\.2\.840\.[\d.]+) \| (.+?) \| (.*?) \|(?: (.*?) \|)?$", _PAGE, re.M)
ACCEPTED = [
    (row[0], int(bits)) for row in _ROWS if row[2][0].isdigit() for bits in row[2].split(", ")
]
REFUSED = [(row[0], row[1]) for row in _ROWS if not row[2][0].isdigit()]
_BY_DCMTK = {"1.2.840.10008.1.2.4.53": "+es", "1.2.840.10008.1.2.4.55": "+ep"}
"""Transfer syntax that no other library here writes → dcmcjpeg's option for it."""
_ADDED_BY_PYNETDICOM = "1.2.840.10008.1.2.8.1"
"""Deflated image frames, for segmentations. pynetdicom adds it to pydicom's dictionary."""


def made(syntax: str, bits: int) -> bytes:
    if syntax in _BY_DCMTK:
        if shutil.which("dcmcjpeg") is None:
            pytest.skip("needs dcmtk (dcmcjpeg)")
        plain = dicom_bytes(stored(chest(bits), bits))
        return by_dcmtk("dcmcjpeg", plain, _BY_DCMTK[syntax], "+be" if bits == 8 else "+bt")
    return archived(uid.UID(syntax), chest(bits), bits)


@pytest.mark.parametrize(("syntax", "bits"), ACCEPTED)
def test_an_accepted_syntax_is_read_at_each_depth(syntax, bits):
    got = decode(made(syntax, bits), LIMITS).pixels.astype(float)
    exact = decode(dicom_bytes(stored(chest(bits), bits)), LIMITS).pixels.astype(float)
    lossy = syntax in {*LOSSY, *_BY_DCMTK}
    assert np.abs(got - exact).mean() <= (0.02 * 65535 if lossy else 0)


@pytest.mark.parametrize(("syntax", "name"), REFUSED)
def test_a_refused_syntax_is_named(syntax, name):
    dataset = dicom_dataset()
    dataset.PixelData = encapsulate([dataset.PixelData])
    dataset["PixelData"].VR = "OB"
    data = with_syntax(dicom_bytes(dataset, uid.JPEG2000), uid.UID(syntax))
    with pytest.raises(ImageUnsupported, match=re.escape(f"({name})")):
        decode(data, LIMITS)


def test_a_private_syntax_is_refused_without_its_own_text():
    data = with_syntax(archived(uid.JPEG2000, chest(8), 8), uid.UID("1.2.3.4.5.6.7"))
    with pytest.raises(ImageUnsupported, match=r"\(unknown\)"):
        decode(data, LIMITS)


@pytest.mark.parametrize("last", [95, 205])
def test_a_deflated_file_that_refers_to_its_pixels_is_named(last):
    syntax = uid.UID(f"1.2.840.10008.1.2.4.{last}")
    plain = dicom_bytes(dicom_dataset(PixelData=b""))
    start = 144 + int.from_bytes(plain[140:144], "little")
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    elements = packer.compress(plain[start:]) + packer.flush()
    with pytest.raises(ImageUnsupported, match="Referenced Deflate"):
        decode(with_syntax(plain[:start], syntax) + elements, LIMITS)


def test_the_tables_have_every_syntax_of_the_standard():
    known = {value for value, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax"}
    assert {row[0] for row in _ROWS} == known - {_ADDED_BY_PYNETDICOM} | set(JPEG_XLS)
    assert {syntax for syntax, _ in ACCEPTED} == {*SYNTAXES, *_BY_DCMTK}
