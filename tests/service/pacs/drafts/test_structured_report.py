"""A draft as a structured report: what is in it, what is not, and who can read it."""

import io
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from xml.etree import ElementTree

import highdicom.sr
import pydicom
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from service.errors import StudyInvalid
from service.pacs.drafts.result_uids import result_uid
from service.pacs.drafts.structured_report import DESCRIPTION, structured_report
from service.pacs.headers import header_of
from service.reporting.formats import DISCLAIMER
from service.reporting.sentences import Sentence
from service.reporting.writer import WrittenBy
from service.studies.own_drafts import MANUFACTURER
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.support.archive import SYNTAXES, archived
from tests.support.conformance import dciodvfy_errors
from tests.support.draft_reports import PROVENANCE, WRITTEN, draft_report, image_header
from tests.support.evidence import passage
from tests.support.regions import pointing, spot
from tests.support.synthetic import radiograph

VIEWS = (image_header(1), image_header(2))
POINTS = "Where the map of the finding points"
SYNTAX_PIXELS = radiograph(32, 24, 12)


def written(report=None, images=VIEWS, at=WRITTEN) -> bytes:
    return structured_report(report or draft_report(), images, written=at)


def read(file: bytes) -> Dataset:
    return pydicom.dcmread(io.BytesIO(file))


def texts(dataset: Dataset, meaning: str) -> list[str]:
    """The values of all TEXT items of this name, anywhere in the tree."""
    found = []
    for item in dataset.get("ContentSequence", []):
        if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeMeaning == meaning:
            found.append(item.TextValue)
        found += texts(item, meaning)
    return found


def items(dataset: Dataset, value_type: str) -> list[Dataset]:
    found = []
    for item in dataset.get("ContentSequence", []):
        found += [item] * (item.ValueType == value_type) + items(item, value_type)
    return found


def dumped(program: str, file: bytes, folder: Path, *options: str) -> str:
    if shutil.which(program) is None:
        pytest.skip(f"needs {program} of dcmtk")
    (folder / "draft.dcm").write_bytes(file)
    arguments = [program, *options, str(folder / "draft.dcm")]
    done = subprocess.run(arguments, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    assert b"E:" not in done.stderr
    return done.stdout.decode()


def test_it_is_an_unverified_preliminary_draft():
    draft = read(written())
    assert draft.SOPClassUID == uid.EnhancedSRStorage
    assert draft.file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian
    assert draft.CompletionFlag == "PARTIAL"
    assert draft.VerificationFlag == "UNVERIFIED"
    assert draft.PreliminaryFlag == "PRELIMINARY"
    assert draft.Manufacturer == MANUFACTURER
    assert draft.SeriesDescription == DESCRIPTION
    assert draft.SoftwareVersions == [PROVENANCE.software, PROVENANCE.bundle_id]
    assert draft.ContentTemplateSequence[0].TemplateIdentifier == "2000"


def test_each_sentence_has_its_passages_and_verdicts():
    findings = next(iter(items(read(written()), "CONTAINER")))
    first, _, second, _ = findings.ContentSequence
    assert first.TextValue == "Small left pleural effusion."
    relations = [(each.RelationshipType, each.ValueType) for each in second.ContentSequence]
    assert relations == [
        ("HAS PROPERTIES", "CODE"), ("HAS PROPERTIES", "NUM"), ("HAS PROPERTIES", "CODE"),
        ("INFERRED FROM", "TEXT"), ("HAS PROPERTIES", "TEXT"),
    ]  # fmt: skip
    status, support, verdict, cited, denying = second.ContentSequence
    assert status.ConceptCodeSequence[0].CodeValue == "SUPPORTED"
    assert support.MeasuredValueSequence[0].NumericValue == 1
    assert verdict.ConceptCodeSequence[0].CodeValue == "DISAGREES"
    assert cited.TextValue == "[2] What passage 2 says."
    assert denying.TextValue == "[3] What passage 3 says."


def test_a_sentence_says_where_its_finding_points():
    report, region = draft_report(), pointing(effusion=spot(0.72, 0.72)).region("effusion", "right")
    pointed = replace(report.findings[0], region=region)
    (said,) = texts(read(written(replace(report, findings=(pointed,), impression=()))), POINTS)
    assert said.startswith("left lower zone (not the side that the sentence names); box at 0.")
    assert "×" in said
    assert said.endswith("of image 1")


def test_probabilities_are_coded_and_a_doubtful_one_is_uncertain():
    draft = read(written())
    verdicts = draft.ContentSequence[-2].ContentSequence
    labels = [each.ConceptNameCodeSequence[0] for each in verdicts]
    said = [each.ContentSequence[0] for each in verdicts]
    assert [(each.CodingSchemeDesignator, each.CodeMeaning) for each in labels] == [
        ("SCT", "Pleural effusion"), ("SCT", "Pneumothorax"), ("SCT", "Cardiomegaly"),
        ("99ECLIP", "Swan-Ganz catheter"),
    ]  # fmt: skip
    assert said[0].MeasuredValueSequence[0].NumericValue == 0.8125
    assert said[1].ConceptCodeSequence[0].CodeMeaning == "Uncertain"
    assert said[2].MeasuredValueSequence[0].NumericValue == 4.536e-05
    assert said[3].ConceptNameCodeSequence[0].CodeValue == "SIMILARITY"


def contained(dataset):
    """What a viewer shows that goes into containers alone, such as OHIF's: name → value."""
    for item in dataset.ContentSequence:
        name = item.ConceptNameCodeSequence[0].CodeMeaning
        if item.ValueType == "CONTAINER":
            yield name, ""
            yield from contained(item)
        elif item.ValueType in ("TEXT", "NUM"):
            value = item.get("TextValue") or item.MeasuredValueSequence[0].NumericValue
            yield name, str(value)


def test_a_viewer_that_goes_into_containers_alone_shows_all_that_a_reader_needs():
    shown = list(contained(read(written())))
    place = shown.index(("Finding", "No pneumothorax."))
    flags = ("Passages, and flags", "[2] (denied by [3]; the classifier disagrees)")
    assert shown[place + 1] == flags
    assert ("Passage of another case", "[3] What passage 3 says.") in shown
    place = shown.index(("Pleural effusion", ""))
    assert shown[place + 1] == ("Probability", "0.8125")


def test_withheld_sentences_and_whose_the_passages_are_is_not_in_it():
    evidence = tuple(
        replace(passage(number, f"Passage {number}.", study_id=f"stu_{number}"), patient_id="pat_9")
        for number in range(1, 5)
    )
    file = written(draft_report(evidence=evidence))
    assert b"A withheld sentence" not in file
    assert not re.search(rb"stu_|pat_|\bp[1-4]\b", file)


def test_it_names_the_images_and_the_notes_of_the_report():
    report = draft_report(
        prior=("An earlier sentence of this patient.",), warnings=("It may be no upright chest.",)
    )
    draft = read(written(report))
    named = [
        item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in items(draft, "IMAGE")
    ]
    assert named == [image.SOPInstanceUID for image in VIEWS]
    series = draft.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert [each.SeriesInstanceUID for each in series] == [v.SeriesInstanceUID for v in VIEWS]
    assert texts(draft, "Disclaimer") == [DISCLAIMER]
    assert texts(draft, "Warning") == ["It may be no upright chest."]
    assert texts(draft, "Id of the audit record") == [PROVENANCE.record]
    assert texts(draft, "Id of the model bundle") == [PROVENANCE.bundle_id]
    assert "earlier study" in texts(draft, "Earlier study")[0]
    assert b"An earlier sentence" not in written(report)


def test_without_a_report_it_says_why():
    report = draft_report(findings=(), impression=(), abstained="No case is near.")
    draft = read(written(report))
    assert texts(draft, "Why there is no report") == ["No case is near."]
    names = [item.ConceptNameCodeSequence[0].CodeMeaning for item in items(draft, "CONTAINER")]
    assert "Findings" not in names
    assert "Impressions" not in names
    assert not dciodvfy_errors(written(report))


def test_patient_study_and_request_are_copied_word_for_word():
    asked = Dataset()
    asked.RequestedProcedureID, asked.ScheduledProcedureStepID = "RP-1", "SPS-1"
    issuer = Dataset()
    issuer.LocalNamespaceEntityID = "RIS"
    image = image_header(
        PatientID=" 00471 ", IssuerOfPatientID="Klinik\u00a0Süd", RequestAttributesSequence=[asked],
        IssuerOfAccessionNumberSequence=[issuer], PatientAge="076Y", StudyDescription="Thorax",
    )  # fmt: skip
    file = written(images=[image])
    draft = read(file)
    for keyword in (
        "PatientID",
        "IssuerOfPatientID",
        "PatientAge",
        "StudyDescription",
        "StudyTime",
    ):
        assert str(draft[keyword].value).strip() == str(image[keyword].value).strip()
    (request,) = draft.ReferencedRequestSequence
    assert (request.RequestedProcedureID, request.AccessionNumber) == ("RP-1", "ACC-17")
    assert request.FillerOrderNumberImagingServiceRequest == ""
    assert draft.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == "RIS"
    assert not dciodvfy_errors(file)


def test_what_the_first_image_lacks_is_that_of_another():
    bare = image_header(1, AccessionNumber="", PatientID=None, StudyDate=None)
    file = written(images=[bare, image_header(2, RequestedProcedureID="RP-2")])
    draft = read(file)
    assert (draft.AccessionNumber, draft.PatientID) == ("ACC-17", "PID-4711")
    assert draft.StudyDate == "20261130"
    assert draft.ReferencedRequestSequence[0].RequestedProcedureID == "RP-2"
    assert not dciodvfy_errors(file)


def test_what_the_images_lack_is_empty_and_nothing_is_invented():
    bare = image_header(
        **dict.fromkeys(
            ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
             "StudyID", "AccessionNumber", "ReferringPhysicianName")
        )
    )  # fmt: skip
    file = written(images=[bare])
    draft = read(file)
    assert not any(draft[name].value for name in ("PatientID", "PatientName", "StudyDate"))
    assert "ReferencedRequestSequence" not in draft
    assert "InstitutionName" not in draft
    assert not dciodvfy_errors(file)


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        ("ISO_IR 100", "Müller^Jürgen"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 192", "Люксембург^Роза"),
    ],
)
def test_a_name_in_any_character_set_survives(character_set, name, tmp_path):
    elements = {each.keyword: each.value for each in image_header()} | {"PatientName": name}
    image = dicom_bytes(dicom_dataset(SpecificCharacterSet=character_set, **elements))
    file = written(images=[header_of(image)])
    assert read(file).PatientName == name
    assert not dciodvfy_errors(file)
    assert name.split("^")[0] in dumped("dsrdump", file, tmp_path, "+Pl", "+U8")


@pytest.mark.parametrize(
    ("character_set", "sentence", "used"),
    [
        ("ISO_IR 100", "Größer.", "ISO_IR 100"),
        ("ISO_IR 100", "“Larger.”", "ISO_IR 192"),
        (None, "Larger.", ""),
        (None, "Größer.", "ISO_IR 192"),
        (["", "ISO 2022 IR 87"], "Larger.", "ISO_IR 192"),
        ("ISO_IR 999", "Larger.", "ISO_IR 192"),
    ],
)
def test_the_images_character_set_is_kept_where_it_has_all_characters(
    character_set, sentence, used
):
    report = draft_report(findings=(Sentence(sentence, (1,), 1, "supported"),))
    draft = read(written(report, [image_header(SpecificCharacterSet=character_set)]))
    assert draft.get("SpecificCharacterSet", "") == used
    assert texts(draft, "Finding") == [sentence]
    assert not dciodvfy_errors(written(report, [image_header(SpecificCharacterSet=character_set)]))


@pytest.mark.slow
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_images_in_every_transfer_syntax_give_a_valid_draft(syntax):
    elements = {each.keyword: each.value for each in image_header()}
    file = written(images=[header_of(archived(syntax, SYNTAX_PIXELS, **elements))])
    assert read(file).PatientID == "PID-4711"
    assert not dciodvfy_errors(file)


def test_dcmtk_shows_every_sentence(tmp_path):
    long = "Shadow " * 4000 + "end."
    strange = 'Größe <b>&amp; 山田 "x" \\ y.'
    report = draft_report(findings=(*draft_report().findings, Sentence(long, (1,), 1, "supported")))
    report = replace(report, impression=(Sentence(strange, (2,), 1, "supported"),))
    shown = dumped("dsrdump", written(report), tmp_path, "+Pl", "+U8")
    for sentence in (*report.findings, *report.impression):
        assert sentence.text in shown
    root = ElementTree.fromstring(dumped("dsr2xml", written(report), tmp_path))
    values = {value.text for value in root.iter("value")}
    assert {strange, long} <= values


def test_highdicom_reads_it_back():
    draft = highdicom.sr.srread(io.BytesIO(written()))
    found = highdicom.sr.utils.find_content_items(draft, value_type="TEXT", recursive=True)
    assert "No pneumothorax." in {item.value for item in found}
    assert len(draft.get_evidence()) == len(VIEWS)


def test_its_times_are_those_of_the_images_zone():
    at = datetime(2026, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=1)))
    draft = read(written(images=[image_header(TimezoneOffsetFromUTC="-0330")], at=at))
    assert (draft.ContentDate, draft.ContentTime) == ("20251231", "200000")
    assert draft.TimezoneOffsetFromUTC == "-0330"
    assert texts(draft, "Time of writing") == ["2025-12-31T20:00:00-03:30"]
    without = read(written(at=at))
    assert (without.SeriesDate, without.SeriesTime) == ("20260101", "003000")
    assert "TimezoneOffsetFromUTC" not in without
    assert texts(without, "Time of writing") == ["2026-01-01T00:30:00+01:00"]


def test_the_same_input_gives_the_same_draft_byte_for_byte():
    assert written() == written()


def test_uids_depend_on_the_images_and_on_what_drafts_alone():
    report = draft_report()

    def made_by(**changes):
        return replace(report, provenance=replace(PROVENANCE, **changes))

    same = result_uid(VIEWS, report)
    assert same == result_uid(VIEWS[::-1], made_by(record="another", prompt="1:a"))
    others = {
        result_uid(VIEWS[:1], report),
        result_uid((*VIEWS, image_header(3)), report),
        result_uid(VIEWS, made_by(bundle_id="c" * 64)),
        result_uid(VIEWS, made_by(software="eclip-radiology 0.1.1")),
        result_uid(VIEWS, made_by(k=9)),
        result_uid(VIEWS, report, "series"),
        result_uid(VIEWS, replace(report, abstained="No case is near.")),
        same,
    }
    assert len(others) == 8
    assert all(uid.UID(each).is_valid and len(each) <= 64 for each in others)
    assert read(written()).SOPInstanceUID == same


def test_a_language_model_that_failed_adds_no_second_draft_and_one_that_is_new_does():
    model, failed = WrittenBy("vllm", "m", 4), WrittenBy("extractive", "e", 4, fallback="Away.")
    by_model, by_fallback, extractive = (
        result_uid(VIEWS, draft_report(generator=writer))
        for writer in (model, failed, WrittenBy("extractive", "e", 4))
    )
    assert by_model == by_fallback != extractive


@pytest.mark.parametrize("elements", [{"StudyInstanceUID": "1.2.3"}, {"PatientID": "PID-4712"}])
def test_images_of_several_studies_or_patients_are_refused(elements):
    with pytest.raises(StudyInvalid, match="not of one") as raised:
        written(images=[image_header(1), image_header(2, **elements)])
    assert "4712" not in raised.value.detail
    with pytest.raises(StudyInvalid):
        written(images=[])


def test_nothing_is_warned_of_or_logged(caplog, recwarn):
    odd = image_header(PatientName="Onlyonecomponent", PatientSex="X", PatientID="x" * 80)
    recwarn.clear()
    caplog.clear()
    written(images=[odd])
    assert not recwarn.list
    assert not caplog.records


@pytest.mark.parametrize("sop_class", ["1.2.3.4.5", "1.2.840.10008.5.1.1.29"])
def test_images_of_classes_that_highdicom_does_not_know_are_reported_on(sop_class):
    draft = read(written(images=[image_header(SOPClassUID=sop_class)]))
    assert items(draft, "IMAGE")[0].ReferencedSOPSequence[0].ReferencedSOPClassUID == sop_class
    assert draft.PatientID == "PID-4711"


@pytest.mark.slow
def test_drafts_are_written_in_many_threads_at_once():
    names = [f"Thread^{number}" for number in range(8)]
    headers = [[image_header(PatientName=name)] for name in names]
    with ThreadPoolExecutor(8) as threads:
        drafts = list(threads.map(lambda images: read(written(images=images)), headers))
    assert [str(draft.PatientName) for draft in drafts] == names


def test_what_an_image_holds_is_not_changed():
    image = image_header(RequestAttributesSequence=[Dataset()], OtherPatientNames=["A^B", "C^D"])
    before = image.to_json()
    written(images=[image])
    assert image.to_json() == before
