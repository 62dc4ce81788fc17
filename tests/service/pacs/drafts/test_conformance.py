"""Whatever valid header an image has and whatever a report says, the draft conforms to DICOM."""

import io
import string
from datetime import date

import pydicom
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from service.inference.zero_shot import Finding
from service.pacs.drafts.dicom_text import long_text, short_text
from service.pacs.drafts.structured_report import structured_report
from service.pacs.headers import header_of
from service.reporting.sentences import Sentence
from service.reporting.writer import WrittenBy
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.support.conformance import dciodvfy_errors
from tests.support.draft_reports import PROVENANCE, WRITTEN, draft_report, image_header
from tests.support.evidence import passage
from tests.support.orthanc import run_orthanc

pytestmark = pytest.mark.slow

CHARACTERS = {
    "ISO_IR 6": string.ascii_letters + string.digits + " .,-_/'()&<>",
    "ISO_IR 100": "aeiouÄÖÜäöüßéèñçÅø.- ",
    "ISO_IR 144": "АБВГДежзийклмн.- ",
    "ISO_IR 126": "ΑΒΓΔαβγδ.- ",
    "ISO_IR 192": "aß山田太郎やまだ홍길동ע🙂é.- ",
    "GB18030": "王小东中文abc.- ",
}
"""Character set → some that it has."""
DATES = st.just("") | st.dates(date(1900, 1, 1), date(2099, 12, 31)).map("{:%Y%m%d}".format)
TIMES = st.times().flatmap(
    lambda at: st.sampled_from(["", f"{at:%H%M%S}", f"{at:%H%M}", f"{at:%H%M%S.%f}"])
)


def words(alphabet, most):
    """Text that fits as UTF-8. dciodvfy 20260927 counts bytes, and of a name all groups together,
    where PS3.5 6.2 counts characters, and of a name those of each group."""
    texts = st.text(alphabet, max_size=most).map(lambda text: " ".join(text.split()))
    return texts.map(lambda text: text.encode()[:most].decode(errors="ignore").strip())


def names(alphabet):
    part = words(alphabet.replace("-", ""), 12)
    group = st.lists(part, min_size=1, max_size=5).map("^".join)
    groups = st.lists(group, min_size=1, max_size=3).map("=".join)
    return groups.map(lambda name: name.strip("=^")).filter(lambda name: len(name.encode()) <= 64)


def item(**elements):
    dataset = Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


CODE = item(CodeValue="36643-5", CodingSchemeDesignator="LN", CodeMeaning="XR Chest 2 Views")
ISSUER = item(UniversalEntityID="1.2.40.0.13", UniversalEntityIDType="ISO")


@st.composite
def headers(draw):
    """Elements of a valid image: each there, empty or absent."""
    character_set = draw(st.sampled_from(sorted(CHARACTERS)))
    alphabet = CHARACTERS[character_set]
    long, short, name = words(alphabet, 64), words(alphabet, 16), names(alphabet)
    asked = item(
        RequestedProcedureID=draw(short) or "1",
        ScheduledProcedureStepID="1",
        RequestedProcedureDescription=draw(long),
        RequestedProcedureCodeSequence=[CODE],
    )
    optional = {
        "PatientID": long, "PatientName": name, "PatientBirthDate": DATES,
        "PatientSex": st.sampled_from(["F", "M", "O", ""]), "StudyDate": DATES, "StudyTime": TIMES,
        "StudyID": short, "AccessionNumber": short, "ReferringPhysicianName": name,
        "StudyDescription": long, "IssuerOfPatientID": long, "EthnicGroup": short,
        "PatientComments": words(alphabet, 200),
        "PatientAge": st.integers(0, 120).map("{:03}Y".format),
        "PatientSize": st.floats(0.3, 2.3).map("{:.2f}".format),
        "PatientWeight": st.floats(1, 200).map("{:.1f}".format),
        "OtherPatientNames": st.lists(name.filter(bool), max_size=2),
        "PhysiciansOfRecord": st.lists(name.filter(bool), max_size=2),
        "IssuerOfPatientIDQualifiersSequence": st.just([ISSUER]),
        "IssuerOfAccessionNumberSequence": st.just([ISSUER]),
        "OtherPatientIDsSequence": st.just([item(PatientID="A-2", TypeOfPatientID="TEXT")]),
        "ProcedureCodeSequence": st.sampled_from([[CODE], []]),
        "ReferencedStudySequence": st.just([]),
        "RequestAttributesSequence": st.just([asked]), "RequestedProcedureID": short,
        "TimezoneOffsetFromUTC": st.sampled_from(["+0000", "+0100", "-0330", "+1400"]),
    }  # fmt: skip
    drawn = {name: draw(st.none() | value) for name, value in optional.items()}
    return {"SpecificCharacterSet": character_set} | drawn


TEXTS = st.text(max_size=300) | st.text("ab\\\r\n\t\x00\x1b\x7f\x85\ud800=^ ", max_size=40)
NUMBERS = st.lists(st.integers(1, 3), max_size=3, unique=True).map(tuple)
SENTENCES = st.builds(
    Sentence,
    TEXTS,
    NUMBERS,
    st.floats(0, 1),
    st.sampled_from(["supported", "contradicted", "unsupported"]),
    NUMBERS,
    st.sampled_from([None, "agrees", "disagrees"]),
)
LABELS = TEXTS.map(lambda text: text[:16]) | st.text("ab ", max_size=300)
"""Where a label is cut to 64 characters, it has 64 bytes: dciodvfy counts bytes."""
FINDINGS = st.builds(
    Finding, LABELS, st.floats(-1, 1), st.none() | st.floats(0, 1), st.booleans(), st.booleans()
)


@st.composite
def reports(draw):
    several = st.lists(SENTENCES, max_size=4).map(tuple)
    return draft_report(
        findings=draw(several),
        impression=draw(several),
        evidence=tuple(passage(number, draw(TEXTS)) for number in range(1, 4)),
        classification=tuple(draw(st.lists(FINDINGS, max_size=4))),
        abstained=draw(st.none() | TEXTS),
        warnings=tuple(draw(st.lists(TEXTS, max_size=2))),
        generator=WrittenBy("vllm", draw(TEXTS), 3, draw(st.none() | TEXTS)),
        prior=draw(st.sampled_from([(), ("Earlier.",)])),
    )


def image(number: int, elements: dict[str, object]) -> Dataset:
    """The header of an image, as it is read from its file."""
    whole = image_header(number, **elements)
    given = {element.keyword: element.value for element in whole}
    return header_of(dicom_bytes(dicom_dataset(**given)))


@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(headers(), reports())
def test_every_draft_conforms(elements, report):
    images = [image(number, elements) for number in (1, 2)]
    file = structured_report(report, images, written=WRITTEN)
    assert not dciodvfy_errors(file)
    draft = pydicom.dcmread(io.BytesIO(file))
    for keyword in ("PatientName", "PatientID", "StudyDescription", "OtherPatientNames"):
        assert draft.get(keyword) == images[0].get(keyword) or not images[0].get(keyword)
    shown = str(draft)
    assert "stu_" not in shown
    said = {each.TextValue for each in walk(draft) if each.ValueType == "TEXT"}
    for sentence in (*report.findings, *report.impression):
        assert not (text := long_text(sentence.text)) or text in said


def walk(dataset):
    for each in dataset.get("ContentSequence", []):
        yield each
        yield from walk(each)


@given(st.text())
def test_short_text_is_one_valid_value(text):
    short = short_text(text, 16)
    assert len(short) <= 16
    assert "\\" not in short
    assert short == short.strip()
    assert short.isprintable() or not short.isascii()
    short.encode()


def test_orthanc_takes_a_draft_once(tmp_path):
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    images = [image(1, {"PatientName": name, "SpecificCharacterSet": "ISO_IR 192"})]
    with run_orthanc(tmp_path) as orthanc:
        first = structured_report(draft_report(), images, written=WRITTEN)
        again = structured_report(draft_report(findings=()), images, written=WRITTEN)
        (taken,) = orthanc.put(first)
        assert taken["Status"] == "Success"
        (taken,) = orthanc.put(again)
        assert taken["Status"] == "AlreadyStored"
        (stored,) = orthanc.files("SR")
        tags = orthanc.get(f"/instances/{taken['ID']}/simplified-tags")
    assert pydicom.dcmread(io.BytesIO(stored)).PatientName == name
    assert tags["PatientName"] == name
    assert tags["SOPInstanceUID"] == pydicom.dcmread(io.BytesIO(first)).SOPInstanceUID
    assert PROVENANCE.record in str(tags["ContentSequence"])
