from contextlib import nullcontext

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from service.errors import (
    ImageNotARadiograph,
    ImageTooLarge,
    ImageUndecodable,
    ImageUnsupported,
)
from service.imaging.decode import decode
from service.imaging.dicom.header import read_dataset
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset, ramp
from tests.service.imaging.dicom.conftest import LIMITS, close, element, item, sequence


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_files_without_preamble_are_read(syntax):
    dataset = dicom_dataset()
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = ramp(np.dtype(">u2"), 1000).tobytes()
    headless = dicom_bytes(dataset, syntax, headless=True)
    assert headless[128:132] != b"DICM"
    close(decode(headless, LIMITS).pixels / 65535, ramp(np.uint16, 1000) / 1000)


CHARACTER_SETS = element(0x00080005, b"UT", b"X\\" * 2**19)


@pytest.mark.slow
@pytest.mark.parametrize(
    "first",
    [
        sequence(0x00080006, item() * 60_000),
        sequence(0x00080006, item(element(0x00090010, b"UT")) * 60_000),
        sequence(0x00080006, item(CHARACTER_SETS) * 2),
        b"".join(element(0x00090000 + number % 2**16, b"UT") for number in range(60_000)),
        CHARACTER_SETS,
        element(0x00281050, b"UT", b"1\\" * 600),
        element(0x00283010, b"SQ", item() * 70_000),
    ],
    ids=["items", "elements in items", "sets in items", "elements", "sets", "value", "LUTs"],
)
def test_a_header_that_keeps_the_reader_busy_is_undecodable(first):
    data = dicom_bytes(dicom_dataset())
    start = data.index(b"\x08\x00\x16\x00UI")
    with pytest.raises(ImageUndecodable):
        decode(data[:start] + first + data[start:], LIMITS)


@pytest.mark.parametrize(
    "extra",
    [
        element(0x00090010, b"UN", bytes(2**22)),
        sequence(0x00080006, item(element(0x00090010, b"UN", bytes(2**19)))),
    ],
)
def test_large_elements_that_no_radiograph_needs_are_passed_over(extra):
    data = dicom_bytes(dicom_dataset())
    start = data.index(b"\x08\x00\x16\x00UI")
    close(
        decode(data[:start] + extra + data[start:], LIMITS).pixels / 65535,
        ramp(np.uint16, 1000) / 1000,
    )


def test_what_follows_the_pixels_is_not_read():
    data = dicom_bytes(dicom_dataset()) + sequence(0xFFFAFFFA, item() * 300_000)
    close(decode(data, LIMITS).pixels / 65535, ramp(np.uint16, 1000) / 1000)


@pytest.mark.parametrize(
    ("elements", "error"),
    [
        ({"SOPClassUID": CTImageStorage}, ImageNotARadiograph),
        ({"NumberOfFrames": 2}, ImageUnsupported),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, ImageUnsupported),
        ({"PhotometricInterpretation": "SOMETHING"}, ImageUndecodable),
        ({"Rows": 60_000, "Columns": 60_000}, ImageTooLarge),
        ({"Rows": 0}, ImageUndecodable),
        ({"PixelData": bytes(10)}, ImageUndecodable),
        ({"Rows": 400}, ImageUndecodable),
        ({"BitsAllocated": 13}, ImageUndecodable),
    ],
)
def test_what_cannot_be_shown_gets_its_own_error(elements, error):
    with pytest.raises(error):
        decode(dicom_bytes(dicom_dataset(**elements)), LIMITS)


def test_an_object_without_pixels_is_unsupported():
    dataset = dicom_dataset()
    del dataset.PixelData
    with pytest.raises(ImageUnsupported, match="no pixel data"):
        decode(dicom_bytes(dataset), LIMITS)


@pytest.mark.parametrize(
    ("keyword", "dtype"), [("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")]
)
@pytest.mark.parametrize("beside", [False, True])
def test_floating_point_pixels_are_refused_with_the_reason(keyword, dtype, beside):
    dataset = dicom_dataset()
    setattr(dataset, keyword, ramp(np.dtype(dtype), 1).tobytes())
    if not beside:
        del dataset.PixelData
    with pytest.raises(ImageUnsupported, match="floating-point"):
        decode(dicom_bytes(dataset), LIMITS)


DX, CR = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1"
PROCESSING, SECONDARY = DX + ".1", "1.2.840.10008.5.1.4.1.1.7"
ENHANCED = "1.2.840.10008.5.1.4.1.1.12.1.1"
MAMMOGRAPHY, CT, PRIVATE = CR + ".2", "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("sop_class", "modalities", "accepted"),
    [
        (DX, ["DX", "DR", "XR", "RF", "XA", "OT", "dx", "", None, ["DX", "CR"], "CT"], True),
        (PROCESSING, ["DR", ""], True),
        (CR, ["DR", "RG", "cr "], True),
        (SECONDARY, ["DX", "DR", "XR", "RG", "OT", "dr", "", None, ["OT", "SC"]], True),
        (PRIVATE, ["DX", "CR"], True),
        (ENHANCED, ["DX", "OT"], True),
        (ENHANCED, ["XA", "RF"], False),
        ("", ["CR", ""], True),
        (DX, ["MG", "mg"], False),
        (SECONDARY, ["CT", "MR", "US", "MG"], False),
        (MAMMOGRAPHY, ["MG", "DX", "CR", ""], False),
        (CT, ["CT", "OT", "DX", ""], False),
        (PRIVATE, ["CT"], False),
    ],
)
def test_the_sop_class_decides_over_modality(sop_class, modalities, accepted):
    for modality in modalities:
        dataset = dicom_dataset(SOPClassUID=sop_class or CR, Modality=modality)
        if modality is None:
            del dataset.Modality
        data = dicom_bytes(dataset)
        if not sop_class:
            del dataset.SOPClassUID
            data = dicom_bytes(dataset, headless=True)
        with nullcontext() if accepted else pytest.raises(ImageNotARadiograph, match="Modality"):
            decode(data, LIMITS)


def luts(count: int, *, undefined: bool, empty: int = 0) -> Sequence:
    items = [Dataset() for _ in range(empty + count)]
    for each in items[empty:]:
        each.add_new("LUTDescriptor", "US", [0, 0, 16])
        each.LUTData = np.arange(65535, -1, -1).astype("<u2").tobytes()
        each.is_undefined_length_sequence_item = undefined
    return Sequence(items)


@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("count", [1, 40])
def test_the_first_of_any_number_of_large_luts_is_used(keyword, syntax, undefined, count):
    dataset = dicom_dataset(ramp(np.uint16, 65535))
    setattr(dataset, keyword, luts(count, undefined=undefined, empty=2))
    dataset[keyword].is_undefined_length = undefined
    close(
        decode(dicom_bytes(dataset, syntax), LIMITS).pixels / 65535,
        1 - ramp(np.uint16, 65535) / 65535,
    )


@pytest.mark.parametrize(
    "second",
    [
        item(element(0x00283003, b"UT", b"x" * 3000)),
        item(element(0x00283006, b"OW", bytes(2**18))),
        item() * 60_000,
        b"no item",
    ],
    ids=["explanation", "entries", "items", "no item"],
)
@pytest.mark.parametrize("tag", [0x00283000, 0x00283010])
def test_a_lut_is_used_whatever_follows_it(tag, second):
    descriptor = element(0x00283002, b"UN", np.array([0, 0, 16], "<u2").tobytes())
    entries = element(0x00283006, b"OW", np.arange(65535, -1, -1).astype("<u2").tobytes())
    first = item(descriptor + entries)
    data = dicom_bytes(dicom_dataset(ramp(np.uint16, 65535)))
    start = data.index(b"\xe0\x7f\x10\x00")
    data = data[:start] + element(tag, b"SQ", first + second) + data[start:]
    radiograph = decode(data, LIMITS)
    close(radiograph.pixels / 65535, 1 - ramp(np.uint16, 65535) / 65535)
    assert radiograph.corrections == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    "items",
    [
        item(CHARACTER_SETS),
        item(element(0x00283006, b"OW", bytes(2**18))),
        item() * 60_000,
        item(element(0x00283003, b"UT")) * 60_000,
    ],
    ids=["sets", "entries", "items", "elements"],
)
@pytest.mark.parametrize("undefined", [False, True])
def test_luts_that_keep_the_reader_busy_are_undecodable(items, undefined):
    data = dicom_bytes(dicom_dataset())
    start = data.index(b"\xe0\x7f\x10\x00")
    tag = 0x00283010
    first = sequence(tag, items) if undefined else element(tag, b"SQ", items)
    with pytest.raises(ImageUndecodable, match="more elements"):
        decode(data[:start] + first + data[start:], LIMITS)


def test_uncompressed_pixels_are_read_without_a_copy():
    data = dicom_bytes(dicom_dataset())
    dataset, _ = read_dataset(data)
    assert np.shares_memory(np.frombuffer(data, np.uint8), np.frombuffer(dataset.PixelData, "u1"))


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_number_whose_bytes_are_blanks_is_given(syntax):
    """2316 is 0C 09, a form feed and a tab; 8224 is two blanks."""
    pixels = np.tile(np.arange(300, dtype=np.uint16), (2316, 1))
    dataset = dicom_dataset(pixels, PixelPaddingValue=8224)
    assert decode(dicom_bytes(dataset, syntax), LIMITS).rows == 2316
