import io
import pickle

import pytest
from pydicom import uid
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from service.errors import ImageUndecodable
from service.pacs.headers import header_of
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.support.archive import SYNTAXES, archived
from tests.support.synthetic import radiograph

IDS = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4"}
PIXELS = radiograph(64, 48, 12)


def request() -> Dataset:
    asked = Dataset()
    asked.RequestedProcedureID = "RP1"
    asked.ScheduledProcedureStepID = "SPS1"
    return asked


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_a_header_is_read_in_every_transfer_syntax(syntax):
    elements = {"PatientID": "P-1", "AccessionNumber": "A-1", "PatientName": "Muster^Erika"}
    header = header_of(
        archived(syntax, PIXELS, **IDS, **elements, RequestAttributesSequence=[request()])
    )
    assert header.StudyInstanceUID == "1.2.3"
    assert header.PatientName == "Muster^Erika"
    assert (header.PatientID, header.AccessionNumber) == ("P-1", "A-1")
    assert header.RequestAttributesSequence[0].RequestedProcedureID == "RP1"
    assert header.Rows == 64
    assert "PixelData" not in header


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 100", "Müller^Jürgen"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 192", "Люксембург^Роза"),
    ],
)
def test_names_are_read_in_their_character_set(character_set, name):
    dataset = dicom_dataset(SpecificCharacterSet=character_set, PatientName=name, **IDS)
    assert str(header_of(dicom_bytes(dataset)).PatientName) == name


def test_a_file_without_preamble_or_with_its_pixels_cut_off_is_read():
    data = dicom_bytes(dicom_dataset(**IDS), uid.ImplicitVRLittleEndian, headless=True)
    assert header_of(data).SeriesInstanceUID == "1.2.3.4"
    assert header_of(data[:-1000]).SeriesInstanceUID == "1.2.3.4"


@pytest.mark.parametrize("absent", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"])
def test_a_file_that_names_no_object_of_a_study_is_refused(absent):
    dataset = dicom_dataset(**IDS)
    data = dicom_bytes(dataset)
    dataset[absent].value = ""
    dataset.save_as(file := io.BytesIO())
    assert header_of(data)
    with pytest.raises(ImageUndecodable, match="StudyInstanceUID"):
        header_of(file.getvalue())


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"a" * 5000, b"\0" * 128 + b"DICM"])
def test_what_is_no_dicom_file_is_refused(data):
    with pytest.raises(ImageUndecodable):
        header_of(data)


def test_a_value_that_cannot_be_decoded_is_left_out():
    data = dicom_bytes(dicom_dataset(PatientID="P-1", **IDS))
    rows = b"\x28\x00\x10\x00US"
    header = header_of(data.replace(rows + b"\x02\x00", rows + b"\x03\x00\0"))
    assert "Rows" not in header
    assert header.PatientID == "P-1"


def test_a_value_that_could_not_be_written_again_is_left_out():
    dataset = dicom_dataset(
        PatientWeight="70.5", PatientID="P-1", SpecificCharacterSet="ISO_IR 192", **IDS
    )
    header = header_of(dicom_bytes(dataset).replace(b"70.5", b"70\xff5"))
    assert "PatientWeight" not in header
    assert header.PatientID == "P-1"


def test_long_values_are_skipped_or_refused():
    dataset = dicom_dataset(**IDS)
    dataset.private_block(0x0009, "VENDOR", create=True).add_new(1, "OB", b"\0" * 2**22)
    assert header_of(dicom_bytes(dataset)).StudyInstanceUID == "1.2.3"
    dataset.PatientComments = "x" * 2**17
    dataset["PatientComments"].VR = "UT"
    with pytest.raises(ImageUndecodable, match="more elements"):
        header_of(dicom_bytes(dataset))


@pytest.mark.parametrize(("depth", "is_read"), [(4, True), (40, False)])
def test_sequences_too_deep_in_each_other_are_left_out(depth, is_read):
    inner = request()
    for _ in range(depth - 1):
        outer = Dataset()
        outer.RequestAttributesSequence = [inner]
        inner = outer
    header = header_of(dicom_bytes(dicom_dataset(RequestAttributesSequence=[inner], **IDS)))
    assert ("RequestAttributesSequence" in header) == is_read


def test_the_header_holds_no_file():
    data = dicom_bytes(dicom_dataset(PatientName="Muster^Erika", **IDS))
    header = header_of(data)
    assert type(header) is Dataset
    assert not any(isinstance(each, RawDataElement) for each in header.values())
    assert len(pickle.dumps(header)) < len(data)
