"""One whole DICOM file is read from a WADO-RS answer, or the error says what it is instead."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.filereader import data_element_generator
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless

from service.errors import PeerRefused
from service.pacs.web import objects as web_object
from service.pacs.web.objects import MOST_BYTES, check_object, read_object
from service.pacs.web.reply import Passing, Reply
from tests.support.archive import SYNTAXES, archived

UID = "1.2.826.0.1.3680043.8.498.1"
PIXELS = np.arange(24 * 20, dtype=np.uint16).reshape(24, 20) * 8
NATIVE, ENCAPSULATED = (
    archived(syntax, PIXELS, SOPInstanceUID=UID)
    for syntax in (ExplicitVRLittleEndian, JPEG2000Lossless)
)


def multipart(*bodies, boundary=b"b0undary", headers=b"Content-Type: application/dicom\r\n"):
    parts = [b"--" + boundary + b"\r\n" + headers + b"\r\n" + body + b"\r\n" for body in bodies]
    return b"".join(parts) + b"--" + boundary + b"--\r\n"


def reply(
    message, size=1000, kind='multipart/related; type="application/dicom"; boundary=b0undary'
):
    pieces = (message[start : start + size] for start in range(0, len(message), size))
    return Reply(200, {"content-type": kind}, pieces)


@pytest.fixture
def any_object(monkeypatch):
    """Takes the place of the check, for bodies that are no DICOM."""
    monkeypatch.setattr(web_object, "check_object", lambda *_: None)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_object_of_any_syntax_is_whole(syntax):
    file = archived(syntax, PIXELS, SOPInstanceUID=UID)
    assert read_object(reply(multipart(file)), UID, MOST_BYTES) == file


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("missing", [2, 9, 100])
def test_a_cut_object_is_refused(syntax, missing):
    file = archived(syntax, PIXELS, SOPInstanceUID=UID)
    with pytest.raises(PeerRefused, match="PACS has a"):
        check_object(file[:-missing], UID)


def ends(file):
    """Returns where elements end: a file that is cut there is a whole file with fewer elements."""
    opened = BytesIO(file)
    opened.seek(144 + dcmread(opened, specific_tags=[]).file_meta.FileMetaInformationGroupLength)
    return {opened.tell() for _ in data_element_generator(opened, False, True)}


@pytest.mark.parametrize("file", [NATIVE, ENCAPSULATED], ids=["native", "encapsulated"])
def test_a_file_cut_within_an_element_is_refused(file):
    for end in set(range(len(file))) - ends(file):
        with pytest.raises(PeerRefused):
            check_object(file[:end], UID)


@given(st.binary(max_size=300))
def test_anything_else_is_refused(garbage):
    for file in (garbage, b"\0" * 128 + b"DICM" + garbage, NATIVE[:200] + garbage):
        with pytest.raises(PeerRefused):
            check_object(file, UID)


@pytest.mark.parametrize("start", [128 + 4, None], ids=["no preamble", "no meta"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_an_old_file_without_a_preamble_is_passed_on_as_it_is(syntax, start):
    """Orthanc stores and returns such a file unchanged."""
    file = archived(syntax, PIXELS, SOPInstanceUID=UID)
    bare = file[start or 144 + int.from_bytes(file[140:144], "little") :]
    assert read_object(reply(multipart(bare)), UID, MOST_BYTES) == bare
    with pytest.raises(PeerRefused, match="PACS has a"):
        check_object(bare[:-9], UID)
    with pytest.raises(PeerRefused, match="another object"):
        check_object(bare, "1.2.3")


def test_zeros_behind_the_last_element_are_padding():
    check_object(NATIVE + b"\0", UID)
    check_object(ENCAPSULATED + b"\0" * 10, UID)


def test_what_follows_the_pixels_is_not_looked_at():
    check_object(NATIVE + b"anything", UID)


def test_a_report_without_pixels_is_checked_to_its_end():
    dataset = dcmread(BytesIO(NATIVE))
    del dataset.PixelData
    dataset.TextValue = "A report." * 10
    written = BytesIO()
    dataset.save_as(written)
    report = written.getvalue()
    check_object(report, UID)
    for missing in (1, 50):
        with pytest.raises(PeerRefused, match="cut off"):
            check_object(report[:-missing], UID)


def test_a_meta_that_names_another_syntax_than_the_dataset_has_is_passed_on():
    explicit, implicit = ExplicitVRLittleEndian.encode(), ImplicitVRLittleEndian.encode() + b"\0\0"
    check_object(NATIVE.replace(explicit + b"\0", implicit.ljust(20, b"\0"), 1), UID)


def test_another_object_is_refused_without_naming_it():
    with pytest.raises(PeerRefused, match="another object") as caught:
        check_object(NATIVE, "1.2.3")
    assert UID not in str(caught.value)


def test_the_dataset_says_which_object_it_is_where_the_meta_is_wrong():
    file = archived(ImplicitVRLittleEndian, PIXELS, SOPInstanceUID=UID)
    wrong = file.replace(UID.encode(), UID[:-1].encode() + b"2", 1)
    assert wrong != file
    check_object(wrong, UID)


def test_a_deflated_object_may_not_inflate_without_end(monkeypatch):
    monkeypatch.setattr(web_object, "_INFLATED", 2**12)
    monkeypatch.setattr(web_object, "_CHUNK", 2**10)
    (deflated,) = (syntax for syntax in SYNTAXES if syntax == "1.2.840.10008.1.2.1.99")
    file = archived(deflated, np.zeros((512, 512), np.uint16), SOPInstanceUID=UID)
    with pytest.raises(PeerRefused):
        check_object(file, UID)


def test_one_object_may_come_without_multipart():
    assert read_object(reply(NATIVE, kind="application/dicom"), UID, MOST_BYTES) == NATIVE


@pytest.mark.parametrize("kind", ["multipart/related", "multipart/form-data; boundary=b0undary"])
def test_another_message_is_refused(kind):
    with pytest.raises(PeerRefused, match="multipart/related"):
        read_object(reply(multipart(NATIVE), kind=kind), UID, MOST_BYTES)


@pytest.mark.usefixtures("any_object")
@given(body=st.binary(max_size=2000), size=st.integers(1, 300), fragment=st.integers(0, 10))
def test_a_body_is_read_byte_by_byte_however_it_arrives(body, size, fragment):
    body += b"\r\n--b0undary"[:fragment] + body[:5]
    assert read_object(reply(multipart(body), size), UID, MOST_BYTES) == body


@pytest.mark.usefixtures("any_object")
@given(st.binary(min_size=1, max_size=500), st.data())
def test_a_message_cut_anywhere_is_asked_for_again(body, data):
    message = multipart(body)
    end = data.draw(st.integers(0, len(message) - len(b"--\r\n")))
    with pytest.raises(Passing):
        read_object(reply(message[:end], 64), UID, MOST_BYTES)


@given(st.binary(max_size=500), st.integers(1, 50))
def test_any_message_gives_an_object_or_an_error(message, size):
    with pytest.raises((PeerRefused, Passing)):
        read_object(reply(message, size), UID, MOST_BYTES)
    with pytest.raises((PeerRefused, Passing)):
        read_object(reply(b"--b0undary\r\n" + message, size), UID, MOST_BYTES)


@pytest.mark.usefixtures("any_object")
@pytest.mark.parametrize(
    "kind",
    [
        'Multipart/Related; boundary="b0undary"; type="application/dicom"',
        "multipart/related;type=application/dicom;boundary=b0undary",
    ],
)
def test_a_boundary_may_be_quoted(kind):
    assert read_object(reply(multipart(b"body"), kind=kind), UID, MOST_BYTES) == b"body"


def test_a_part_has_the_length_that_it_announces():
    headers = f"content-length: {len(NATIVE)}\r\n".encode()
    assert read_object(reply(multipart(NATIVE, headers=headers)), UID, MOST_BYTES) == NATIVE
    with pytest.raises(Passing, match="length"):
        read_object(reply(multipart(NATIVE[:-1], headers=headers)), UID, MOST_BYTES)


@pytest.mark.parametrize("count", [0, 2])
def test_one_object_is_asked_for(count):
    with pytest.raises(PeerRefused, match=f"{count} objects"):
        read_object(reply(multipart(*[NATIVE] * count)), UID, MOST_BYTES)


def test_an_object_beyond_the_bound_is_not_read_to_its_end():
    def endless():
        yield b"--b0undary\r\n\r\n"
        while True:
            yield b"x" * 1000

    kind = "multipart/related; boundary=b0undary"
    with pytest.raises(PeerRefused, match="1 MiB"):
        read_object(Reply(200, {"content-type": kind}, endless()), UID, 2**20)
