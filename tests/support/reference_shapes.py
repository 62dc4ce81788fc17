"""Builds native files of the shapes that a chest archive's objects have: `SHAPES`."""

from collections.abc import Callable, Iterator

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.support.reference import RANGE, VOI_LUT, WINDOW, Case, grouped

TWELVE = {"BitsStored": 12, "HighBit": 11}
WIDE = {"WindowCenter": 1800, "WindowWidth": 3000}
WORDS, BYTES, TRUE_COLOUR = (f"1.2.840.10008.5.1.4.1.1.7.{last}" for last in (3, 2, 4))
DX, RAW = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1.1"
ONE_FRAME = {"SOPClassUID": WORDS, "Modality": "DX", "NumberOfFrames": 1}


def chest(bits: int, *, signed: bool = False, shape: tuple[int, int] = (64, 48)) -> np.ndarray:
    """A radiograph's soft shapes over most of the range of so many bits, with some noise."""
    rows, columns = shape
    y, x = np.mgrid[0:rows, 0:columns]
    body = np.exp(-((4 * x / columns - 2) ** 2)) + 0.3 * y / rows + 0.05 * np.sin(y / 5)
    body = (body - body.min()) / np.ptp(body)
    noise = np.random.default_rng(0).normal(0, 0.003, shape)
    top = 2**bits
    values = np.rint((0.03 + 0.94 * np.clip(body + noise, 0, 1)) * (top - 1)).astype(np.int64)
    kind = f"{'i' if signed else 'u'}{1 if bits <= 8 else 2 if bits <= 16 else 4}"
    return (values - top // 2 if signed else values).astype(kind)


def lut(table: np.ndarray, first: int, bits: int, entries: int | None = None) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [(entries or len(table)) % 2**16, first % 2**16, bits])
    item.LUTExplanation = "Explanation"
    item.LUTData = table.tobytes() + bytes(table.nbytes % 2)
    return item


def curve(entries: int, bits: int, power: float = 0.7) -> np.ndarray:
    return np.rint(np.linspace(0, 1, entries) ** power * (2**bits - 1)).astype("<u2")


def stored(pixels: np.ndarray, bits: int, **elements: object) -> Dataset:
    signed = {"PixelRepresentation": int(pixels.dtype.kind == "i")}
    return dicom_dataset(pixels, BitsStored=bits, HighBit=bits - 1, **signed | elements)


def twelve(**elements: object) -> bytes:
    return dicom_bytes(stored(chest(12), 12, **elements))


def _depths() -> Iterator[tuple[str, Case]]:
    for bits in (6, 7, 8, 10, 12, 14, 15, 16):
        for signed in (False, True):
            pixels = chest(bits, signed=signed) & np.array(2**bits - 1).astype(np.uint16).astype(
                f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}"
            )
            name = f"{bits} bits, {'signed' if signed else 'unsigned'}"
            yield name, Case(dicom_bytes(stored(pixels, bits)))
    yield "20 bits in 32", Case(dicom_bytes(stored(chest(20), 20)))
    eight = dicom_dataset(chest(8).astype(np.uint16), BitsStored=8, HighBit=7)
    yield "8 bits in 16", Case(dicom_bytes(eight))
    high = dicom_dataset(chest(12) << 4, BitsStored=12, HighBit=15)
    yield "12 bits at the top of 16", Case(dicom_bytes(high))


def _windows() -> Iterator[tuple[str, Case]]:
    for function in ("LINEAR", "SIGMOID", "LINEAR_EXACT"):
        yield f"a window, {function}", Case(twelve(**WIDE, VOILUTFunction=function), WINDOW)
    three = {"WindowCenter": [1800, 1500, 900], "WindowWidth": [3000, 2000, 500]}
    explained = {"WindowCenterWidthExplanation": ["NORMAL", "HARDER", "SOFTER"]}
    yield "three windows with explanations", Case(twelve(**three, **explained), WINDOW)
    for centre, width in ((" 1.8E3 ", "+3000.0"), ("1800.", "3e+3"), ("01800", "3000.00000000000")):
        file = twelve(WindowCenter=centre, WindowWidth=width)
        yield f"a window written as {centre} and {width}", Case(file, WINDOW)
    for slope, intercept in ((2, -1000), (-1, 4095), ("0.0001", "-0.2"), ("1e6", 0)):
        rescale = {"RescaleSlope": slope, "RescaleIntercept": intercept}
        centre, width = 1800 * float(slope) + float(intercept), 3000 * abs(float(slope))
        whole = None if float(slope) >= 1 or slope == -1 else twelve()
        yield (
            f"rescale by {slope} and {intercept}",
            Case(twelve(**rescale), same=whole, clause="PS3.3 C.11.1" if whole else ""),
        )
        window = {"WindowCenter": f"{centre:.8g}", "WindowWidth": f"{width:.8g}"}
        if width > 1:  # less is for LINEAR_EXACT, which dcmtk reads as LINEAR
            name = f"a window after rescale by {slope} and {intercept}"
            yield name, Case(twelve(**rescale, **window), WINDOW)


def _luts() -> Iterator[tuple[str, Case]]:
    for bits in (8, 10, 12, 16):
        item = lut(curve(4096, bits), 0, bits)
        yield f"a VOI LUT of {bits} bits", Case(twelve(VOILUTSequence=Sequence([item])), VOI_LUT)
    packed = lut(curve(4096, 8).astype("u1"), 0, 8)
    yield (
        "a VOI LUT of packed 8 bits",
        Case(
            twelve(VOILUTSequence=Sequence([packed])),
            VOI_LUT,
        ),
    )
    for slope, intercept in ((16, 0), (0.25, 0), (-1, 4095), (1, -2048)):
        first, last = sorted(round(end * slope + intercept) for end in (0, 4095))
        table = lut(curve(last - first + 1, 12), first, 12)
        if first < 0:
            table.add_new("LUTDescriptor", "SS", [last - first + 1, first, 12])
        rescale = {"RescaleSlope": slope, "RescaleIntercept": intercept}
        name = f"a VOI LUT after rescale by {slope} and {intercept}"
        yield name, Case(twelve(**rescale, VOILUTSequence=Sequence([table])), VOI_LUT)
    odd = Sequence([lut(curve(4095, 12), 1, 12)])
    yield "a VOI LUT with an odd number of entries", Case(twelve(VOILUTSequence=odd), VOI_LUT)
    short = Sequence([lut(curve(2000, 12), 1000, 12)])
    yield "a VOI LUT shorter than the values", Case(twelve(VOILUTSequence=short), VOI_LUT)
    several = Sequence([lut(curve(4096, 12), 0, 12), lut(curve(4096, 12, 3), 0, 12)])
    yield "two VOI LUTs, and a window", Case(twelve(VOILUTSequence=several, **WIDE), VOI_LUT)
    modality = {"ModalityLUTSequence": Sequence([lut(curve(4096, 12, 2), 0, 12)])}
    yield "a modality LUT", Case(twelve(**modality, RescaleType="US"))
    yield "a modality LUT and a window", Case(twelve(**modality, **WIDE), WINDOW)
    both = modality | {"VOILUTSequence": Sequence([lut(curve(4096, 12), 0, 12)])}
    yield "a modality LUT and a VOI LUT", Case(twelve(**both), VOI_LUT)
    below = Sequence([lut(curve(4096, 12), -2048, 12)])
    signed = stored(chest(12, signed=True) & 0xFFF, 12, VOILUTSequence=below)
    signed.VOILUTSequence[0].add_new("LUTDescriptor", "SS", [4096, -2048, 12])
    yield "a VOI LUT from below zero", Case(dicom_bytes(signed), VOI_LUT)


def _polarities() -> Iterator[tuple[str, Case]]:
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        for shape in ("", "IDENTITY", "INVERSE"):
            header = {"PhotometricInterpretation": photometric, "PresentationLUTShape": shape}
            name = f"{photometric}, PresentationLUTShape {shape or 'absent'}"
            yield name, Case(twelve(**header, **WIDE), WINDOW)
    raw = {"SOPClassUID": RAW, "Modality": "DX", "PresentationIntentType": "FOR PROCESSING"}
    yield "raw data, bone high", Case(twelve(**raw, PixelIntensityRelationshipSign=-1))
    yield (
        "raw data, bone low, MONOCHROME1",
        Case(
            twelve(**raw, PixelIntensityRelationshipSign=1, PhotometricInterpretation="MONOCHROME1")
        ),
    )
    yield (
        "raw data, bone low, MONOCHROME2",
        Case(
            twelve(**raw, PixelIntensityRelationshipSign=1),
            same=twelve(**raw, PhotometricInterpretation="MONOCHROME1"),
            clause="PS3.3 C.8.11.3.1.2",
        ),
    )


def _overlays() -> Iterator[tuple[str, Case]]:
    ring = np.zeros((64, 48), np.uint16)
    ring[10:40, 10:30] = 1
    for bit in (12, 15):
        dataset = _overlaid(stored(chest(12) | ring << bit, 12), allocated=16, bit=bit)
        yield f"an overlay in bit {bit}", Case(dicom_bytes(dataset))
    dataset = _overlaid(stored(chest(12), 12), allocated=1, bit=0)
    dataset.add_new(0x60003000, "OW", np.packbits(ring == 1, bitorder="little").tobytes())
    yield "an overlay of its own", Case(dicom_bytes(dataset))


def _overlaid(dataset: Dataset, *, allocated: int, bit: int) -> Dataset:
    """Adds what describes a graphic overlay (PS3.3 C.9.2); returns the dataset."""
    for tag, vr, value in (
        (0x60000010, "US", 64), (0x60000011, "US", 48), (0x60000040, "CS", "G"),
        (0x60000050, "SS", [1, 1]), (0x60000100, "US", allocated), (0x60000102, "US", bit),
    ):  # fmt: skip
        dataset.add_new(tag, vr, value)
    return dataset


def _shapes() -> Iterator[tuple[str, Case]]:
    for keyword in ("PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing"):
        for height, width in ((2, 1), (1, 2), (4, 3)):
            size = round(48 * max(1, width / height)), round(64 * max(1, height / width))
            file = twelve(**{keyword: [height, width]}, **WIDE)
            name = f"{keyword} {height} to {width}"
            yield name, Case(file, WINDOW, clause="PS3.3 C.7.6.3.1.7", size=size)
    for name, sop_class in (("words", WORDS), ("bytes", BYTES)):
        bits = 12 if name == "words" else 8
        header = ONE_FRAME | {"SOPClassUID": sop_class}
        yield f"one frame of {name}", Case(dicom_bytes(stored(chest(bits), bits, **header)))
    rescale = {"RescaleSlope": 2, "RescaleIntercept": -1000}
    for shared in (False, True):
        dataset = stored(chest(12), 12, **ONE_FRAME)
        grouped(dataset, "FrameVOILUTSequence", shared=shared, **WIDE)
        grouped(dataset, "PixelValueTransformationSequence", **rescale)
        yield (
            f"functional groups, {'shared' if shared else 'of the frame'}",
            Case(dicom_bytes(dataset), WINDOW, twelve(**WIDE, **rescale), "PS3.3 C.7.6.16.2"),
        )
    padded = chest(12)
    padded[:, :4] = 4095
    black = np.where(padded == 4095, chest(12).min(), padded)
    dataset, same = (stored(each, 12, **WIDE) for each in (padded, black.astype(np.uint16)))
    dataset.add_new("PixelPaddingValue", "US", 4095)
    yield (
        "padding that is not black",
        Case(dicom_bytes(dataset), WINDOW, dicom_bytes(same), "PS3.3 C.7.5.1.1.2"),
    )


def _encodings() -> Iterator[tuple[str, Case]]:
    odd = dicom_dataset(chest(8, shape=(63, 47)), WindowCenter=128, WindowWidth=256)
    yield "an odd number of bytes, padded", Case(dicom_bytes(odd), WINDOW)
    for vr in ("OB", "OW", "UN"):
        dataset = stored(chest(12), 12)
        dataset["PixelData"].VR = vr
        same = (twelve(), "PS3.5 6.2.2") if vr == "UN" else ()
        yield f"pixels of VR {vr}", Case(dicom_bytes(dataset), RANGE, *same)
        dataset = dicom_dataset(chest(8))
        dataset["PixelData"].VR = vr
        same = (dicom_bytes(dicom_dataset(chest(8))), "PS3.5 6.2.2") if vr == "UN" else ()
        yield f"8-bit pixels of VR {vr}", Case(dicom_bytes(dataset), RANGE, *same)
    for name, syntax in (("explicit", uid.ExplicitVRLittleEndian),
                         ("implicit", uid.ImplicitVRLittleEndian)):  # fmt: skip
        file = dicom_bytes(stored(chest(12), 12, **WIDE), syntax, headless=True)
        yield f"no meta information, {name} VR", Case(file, WINDOW)


def _colours() -> Iterator[tuple[str, Case]]:
    gray = chest(8)
    rgb = {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "Rows": 64, "Columns": 48}
    three = np.repeat(gray[..., None], 3, axis=-1)
    full = np.dstack([gray, np.full_like(gray, 128), np.full_like(gray, 128)])
    one = rgb | ONE_FRAME | {"SOPClassUID": TRUE_COLOUR}
    for name, pixels, header in (
        ("gray as RGB, by pixel", three, rgb),
        ("gray as RGB, by plane", np.ascontiguousarray(three.transpose(2, 0, 1)), rgb),
        ("one frame of gray as RGB", three, one),
        ("gray as YBR_FULL", full, rgb | {"PhotometricInterpretation": "YBR_FULL"}),
    ):
        dataset = dicom_dataset(pixels, PlanarConfiguration=int("plane" in name), **header)
        same = () if "YBR" in name else (dicom_bytes(dicom_dataset(gray)), "PS3.3 C.7.6.3.1.2")
        yield name, Case(dicom_bytes(dataset), RANGE, *same)


SHAPES: dict[str, Callable[[], Iterator[tuple[str, Case]]]] = {
    "depths": _depths,
    "windows": _windows,
    "LUTs": _luts,
    "polarities": _polarities,
    "overlays": _overlays,
    "shapes": _shapes,
    "encodings": _encodings,
    "colours": _colours,
}
"""Name → the files of this kind, each with its name."""
