"""Marks every identifying value of DICOM objects, and finds the marks in files.

A mark names the element that it stands in: `ZQXJWKV00100010` is that of PatientName (0010,0010).
Numbers, dates and UIDs have their own marks. Values of two bytes, and ages (AS), are too short to
be told from chance: they are written, and not looked for.
"""

import base64
import gzip
import re
import sqlite3
import struct
import zipfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.support.structured_reports import (
    FINDINGS,
    IMPRESSION,
    IMPRESSIONS,
    OBSERVES,
    content_item,
    person,
    report_dataset,
    said,
    section,
)

MARK = "ZQXJWKV"
"""Begins every mark in text, and every binary value of seven bytes or more."""
NUMBER = "918273645"
"""The whole number and the digits of every decimal number."""
DATE, DATES = "19071113", ("13 November 1907", "1907-11-13", "11/13/1907", "13.11.1907")
"""Every date, and as reports write it."""
TIME = "034917.918273"
ROOT = "1.2.826.0.1.3680043.9918273"
"""Begins every UID."""
marks = (
    MARK, NUMBER, DATE, *DATES, TIME, ROOT,
    *(str(int.from_bytes(f"{MARK}0".encode(), order)) for order in ("little", "big")),
)  # fmt: skip
"""All that `find_marks` looks for, whatever its case and in any of the encodings below."""

_GROUPS = (0x0008, 0x0010, 0x0018, 0x0020, 0x0032, 0x0038, 0x0040, 0x4008)
"""Groups of the attributes that PS3.15 E lists."""
_NEEDED = frozenset(
    {
        "SpecificCharacterSet", "SOPClassUID", "ImageType", "Modality", "ConversionType",
        "BodyPartExamined", "ViewPosition", "PatientOrientation", "Laterality", "Manufacturer",
        "ValueType", "CompletionFlag", "VerificationFlag", "PreliminaryFlag", "RelationshipType",
        "ContinuityOfContent", "CompletionFlagDescription", "TextValue", "NumericValue",
        "TemplateIdentifier", "CodeValue", "CodingSchemeDesignator", "CodeMeaning",
        "PresentationIntentType", "PatientPosition", "AnatomicRegionSequence",
    }
)  # fmt: skip
"""What readers decide by; a mark there would make another object of it."""
_PRIVATE = 0x0099
# fmt: off
_VRS = (
    "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "OB", "OD", "OF", "OL",
    "OV", "OW", "PN", "SH", "SL", "SQ", "SS", "ST", "SV", "TM", "UC", "UI", "UL", "UN", "UR", "US",
    "UT", "UV",
)
# fmt: on


def marked_image(number: int = 1, pixels: np.ndarray | None = None, **elements: object) -> bytes:
    """Returns a radiograph whose every other value is a mark.

    number: the study's and patient's, so that several are several. elements: further values.
    """
    dataset = dicom_dataset(pixels)
    _mark(dataset, number)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dicom_bytes(dataset)


def marked_report(number: int = 1, **elements: object) -> bytes:
    """Returns a finished report of the same study. Its text has the marks of the headers, too."""
    dataset = report_dataset(*_content(number))
    content = dataset.ContentSequence
    _mark(dataset, number)
    dataset.ContentSequence = content
    dataset.ConceptNameCodeSequence = report_dataset().ConceptNameCodeSequence
    for keyword in ("ContentTemplateSequence", "PredecessorDocumentsSequence"):
        dataset.pop(keyword, None)
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dicom_bytes(dataset)


def find_marks(folder: Path) -> list[tuple[str, str]]:
    """Returns each mark in the files below a folder, and in their names: (file, mark).

    Databases are read by their cells too, and compressed files by their content.
    """
    found = []
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found += [(name, mark) for mark in marks_in(name.encode())]
        if path.is_file():
            found += [(name, mark) for part in _parts(path) for mark in marks_in(part)]
    return list(dict.fromkeys(found))


def marks_in(data: bytes | str) -> list[str]:
    """Returns the marks in bytes, or in the text of a log, with what follows each."""
    data = data.encode(errors="surrogatepass") if isinstance(data, str) else data
    lower = _EMPTY.sub(b"\0" * 8, bytes(data)).lower()
    found = list[str]()
    for form in _FORMS:
        if form in lower:  # faster by far than one pattern of all forms
            pattern = re.compile(re.escape(form) + rb"[\w.\0]{0,32}")
            found += [each.replace(b"\0", b"").decode("latin-1") for each in pattern.findall(lower)]
    return found


_EMPTY = re.compile(rb"\0{64,}")
"""Room that a database holds in advance."""


def _forms() -> Iterator[bytes]:
    """Yields each mark as it is, wide, in hexadecimal, and as base64 of a longer text has it."""
    for mark in marks:
        for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
            yield mark.encode(encoding)
        for known in {mark.encode(), mark.lower().encode()}:
            yield known.hex().encode()
            for before in range(3):
                coded = base64.b64encode(b"\0" * before + known)
                yield coded[(0, 2, 3)[before] : (before + len(known)) // 3 * 4]


_FORMS = tuple(dict.fromkeys(form.lower() for form in _forms()))


def _parts(path: Path) -> Iterator[bytes]:
    data = path.read_bytes()
    yield data
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from map(archive.read, archive.namelist())
    if data.startswith(b"SQLite format 3"):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            for (table,) in tables.fetchall():
                rows = database.execute(f'SELECT * FROM "{table}"')
                yield from (repr(row).encode(errors="replace") for row in rows)


def _mark(dataset: Dataset, number: int) -> None:
    """Sets every attribute of the groups that is not needed, and private ones of every VR."""
    for tag, (vr, *_) in DicomDictionary.items():
        keyword = keyword_for_tag(tag)
        if tag >> 16 in _GROUPS and keyword and keyword not in _NEEDED and vr in _VRS:
            with suppress(KeyError):
                dataset.add_new(tag, dictionary_VR(tag), _value(dictionary_VR(tag), Tag(tag)))
    block = dataset.private_block(_PRIVATE, f"{MARK} PRIVATE", create=True)
    for offset, vr in enumerate(_VRS):
        block.add_new(offset, vr, _value(vr, Tag(_PRIVATE, 0x1000 + offset)))
    dataset.SOPInstanceUID = f"{ROOT}.8.{number}.{dataset.SOPInstanceUID[-12:].strip('.')}"
    dataset.StudyInstanceUID = f"{ROOT}.32.{number}"
    dataset.PatientID = f"{MARK}00100020P{number}"


def _value(vr: str, tag: BaseTag, *, deep: bool = True) -> object:
    text = f"{MARK}{tag:08X}"
    octets = text.encode() + b"\0"
    number = int.from_bytes(octets[:8], "little")
    match vr:
        case "SQ":
            return [_item(tag)] if deep else []
        case "PN":
            return f"{text}^{text}GIVEN"
        case "DA":
            return DATE
        case "TM":
            return TIME
        case "DT":
            return DATE + TIME
        case "AS":
            return "093Y"
        case "UI":
            return f"{ROOT}.{tag.group}.{tag.element}"
        case "IS" | "SL" | "UL":
            return int(NUMBER)
        case "DS":
            return f"{NUMBER}.5"
        case "FL":
            return struct.unpack("<f", octets[:4])[0]
        case "FD":
            return struct.unpack("<d", octets[:8])[0]
        case "SV" | "UV":
            return number
        case "SS" | "US":
            return 23130
        case "AT":
            return tag
        case "UR":
            return f"https://{text}.example"
        case "OB" | "OD" | "OF" | "OL" | "OV" | "OW" | "UN":
            return octets
        case _:
            return text


def _item(tag: BaseTag) -> Dataset:
    """An item of a sequence, with names and ids of its own."""
    item = Dataset()
    for keyword in ("PersonName", "PatientID", "InstitutionName", "AccessionNumber", "StudyDate"):
        item.add_new(keyword, dictionary_VR(keyword), _value(dictionary_VR(keyword), Tag(keyword)))
    item.LongCodeValue = item.TextValue = f"{MARK}{tag:08X}"
    item.RetrieveURL = f"https://{MARK}.example"
    return item


def _content(number: int) -> list[Dataset]:
    """A report whose sentences name whatever a sentence can."""
    name, place = f"{MARK}00100010", f"{MARK}00080080"
    accession, station = f"{MARK}00080050", f"{MARK}00081010"
    return [
        person(f"{MARK}0040A123^{MARK}GIVEN"),
        said(f"{MARK}0040A160", ("121009", "DCM", "Organization"), relation=OBSERVES),
        said(f"{MARK}0040A160", ("1", "99X", "Referring Physician")),
        content_item("DATETIME", ("1", "99X", "When"), DateTime=DATE + TIME),
        content_item("UIDREF", ("1", "99X", "What"), UID=f"{ROOT}.1"),
        section(
            FINDINGS,
            said(f"{name} {name}GIVEN has clear lungs, born {DATES[0]}, seen at {place}."),
            said(f"Dr. {MARK}00080090 called {MARK}0040A123 about {accession} on {DATES[1]}."),
            said(f"No effusion on {DATES[2]} by {station}, {MARK}00100020P{number}, {ROOT}.32.1."),
        ),
        section(IMPRESSIONS, said(f"Normal. {name.lower()}, {DATES[3]}.", IMPRESSION)),
    ]
