"""Reads one DICOM file from a WADO-RS answer, and checks that it is whole and the one asked for."""

import re
import zlib
from collections.abc import Iterator
from io import BytesIO
from itertools import islice

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filereader import data_element_generator
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import PeerRefused
from service.imaging.dicom.header import looks_like_dicom
from service.imaging.libraries import decoding
from service.pacs.web.reply import Passing, Reply, not_dicomweb

ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
"""Asks for objects in the transfer syntax they are stored in (PS3.18 8.7.3.5.2)."""
MOST_BYTES = 2**26
"""Bytes of the largest object. An uncompressed radiograph has 10 to 40 MiB."""
_LARGE = "Store it compressed there, or index it from its file."
_MAGIC = slice(128, 132)
_ELEMENTS = 20_000
"""Elements that are read of an object at most, sequences as one."""
_LONG = 256
"""Bytes: longer values are skipped."""
_UNDEFINED = 0xFFFFFFFF
_INFLATED = 2**30
"""Bytes to which a deflated object may inflate."""
_PIECE, _CHUNK = 2**16, 2**20
"""Bytes that are taken from a deflated object, and that are inflated, at a time."""
_SYNTAX, _META_UID = Tag("TransferSyntaxUID"), Tag("MediaStorageSOPInstanceUID")
_UID, _PIXELS = Tag("SOPInstanceUID"), Tag("PixelData")
_VR = re.compile(rb"[A-Z]{2}")
"""What an explicit value representation looks like."""
_Element = DataElement | RawDataElement


def read_object(reply: Reply, instance_uid: str, most: int) -> bytes:
    """Returns the DICOM file, byte by byte as the service sends it.

    Raises Passing if the answer ends too early, and PeerRefused if it is malformed, has more than
    `most` bytes or several objects, or if its object is another one or cut off.
    """
    bare = reply.media_type == "application/dicom"  # some services send one object without parts
    file = reply.read(most, _LARGE) if bare else _only_part(reply, most)
    check_object(file, instance_uid)
    return file


class _Parts:
    """Collects the first part of a multipart message, and counts the parts."""

    def __init__(self) -> None:
        self.body, self.begun, self.ended = BytesIO(), 0, False
        self.length: bytes | None = None
        self._name, self._value = b"", b""

    def begin(self) -> None:
        self.begun += 1

    def name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header(self) -> None:
        if self._name.lower() == b"content-length":
            self.length = self._value.strip()
        self._name, self._value = b"", b""

    def data(self, data: bytes, start: int, end: int) -> None:
        if self.begun == 1:
            self.body.write(memoryview(data)[start:end])

    def end(self) -> None:
        self.ended = True


def _only_part(reply: Reply, most: int) -> bytes:
    """Returns the body of the one part of a multipart message (RFC 2046 5.1)."""
    media_type, options = parse_options_header(reply.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if media_type != b"multipart/related" or not boundary:
        raise not_dicomweb("another type than multipart/related")
    parts = _Parts()
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": parts.begin,
                "on_header_field": parts.name,
                "on_header_value": parts.value,
                "on_header_end": parts.header,
                "on_part_data": parts.data,
                "on_end": parts.end,
            },
        )
        for piece in reply.bounded(most, _LARGE):
            parser.write(piece)
    except FormParserError:
        raise not_dicomweb("a multipart message that cannot be read") from None
    if not parts.ended:
        raise Passing("broke off its answer")
    if parts.begun != 1:
        raise not_dicomweb(f"{parts.begun} objects where it was asked for one")
    body = parts.body.getvalue()
    if parts.length is not None and parts.length != str(len(body)).encode():
        raise Passing("sent a part of another length than it announced")
    return body


def check_object(file: bytes, instance_uid: str) -> None:
    """Raises PeerRefused unless the file is a whole DICOM file with this SOP Instance UID."""
    if not looks_like_dicom(file):
        raise not_dicomweb("an object that is no DICOM file")
    try:
        with decoding:  # pydicom's warnings quote values
            found, whole = _identified(file)
    except Exception:  # pydicom raises anything for damaged files
        raise PeerRefused(
            "The PACS has a damaged object: its elements cannot be read. Send it to the PACS again "
            "from its source."
        ) from None
    if not whole:
        raise PeerRefused(
            "The PACS has an object that is cut off. Send it to the PACS again from its source."
        )
    if found != instance_uid:
        raise PeerRefused(
            "The PACS answers with another object than it was asked for: the SOP Instance UID "
            "differs. Look into its log."
        )


def _identified(file: bytes) -> tuple[str | None, bool]:
    """Returns the object's SOP Instance UID, and whether the file is whole.

    The UID is that of the dataset: some archives hold files with another one in their meta. A
    deflated dataset is not kept, so that of the meta is taken there. Archives keep old files that
    have no preamble, or no meta either, as they are.
    """
    opened = BytesIO(file)
    opened.seek(_MAGIC.stop if file[_MAGIC] == b"DICM" else 0)
    meta, _ = _words(data_element_generator(opened, False, True, _is_behind_meta, _LONG), opened)
    start, syntax = opened.tell(), meta.get(_SYNTAX)
    if syntax == DeflatedExplicitVRLittleEndian:
        return meta[_META_UID], _is_whole_deflated(file[start:])
    explicit = _VR.fullmatch(file[start + 4 : start + 6])  # some metas name the other kind
    little = syntax != ExplicitVRBigEndian
    elements = data_element_generator(opened, not explicit, little, defer_size=_LONG)
    try:
        found, end = _words(elements, opened)
    except EOFError:
        return None, False
    has_pixels = _PIXELS in found
    return found.get(_UID), 0 < end <= len(file) and (has_pixels or not file[end:].strip(b"\0"))


def _words(elements: Iterator[_Element], opened: BytesIO) -> tuple[dict[BaseTag, str], int]:
    """Returns the UIDs among the elements as text, and where the last element ends.

    Pixels, which are named without a text, count as the last one: what follows is not needed.
    """
    found, end = {}, 0
    for element in islice(elements, _ELEMENTS):
        end = opened.tell()
        if isinstance(element, RawDataElement) and element.length != _UNDEFINED:
            end = element.value_tell + element.length
        if element.tag in (_SYNTAX, _META_UID, _UID) and isinstance(element.value, bytes):
            found[element.tag] = element.value.decode("ascii", "replace").rstrip("\0 ")
        if element.tag == _PIXELS:
            found[_PIXELS] = ""
            break
    return found, end


def _is_behind_meta(tag: int, _vr: str | None, _length: int) -> bool:
    return tag >> 16 != 2


def _is_whole_deflated(elements: bytes) -> bool:
    """Decides whether a deflated stream ends within `_INFLATED` bytes. It keeps none of them."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    size = 0
    for start in range(0, len(elements), _PIECE):
        piece = elements[start : start + _PIECE]
        while piece:
            size += len(inflate.decompress(piece, _CHUNK))
            piece = inflate.unconsumed_tail
            if inflate.eof or size > _INFLATED:
                return inflate.eof
    inflate.flush()
    return inflate.eof
