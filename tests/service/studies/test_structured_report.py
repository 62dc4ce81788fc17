"""The text of a radiologist's report, from the structured reports that hospitals' systems make."""

import io
import shutil
import subprocess
from datetime import datetime
from pathlib import Path

import pytest
from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ComprehensiveSR,
    ContainerContentItem,
    EnhancedSR,
    NumContentItem,
    PnameContentItem,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

from service.bundle.report_text import described, sections
from service.pacs.drafts.structured_report import structured_report
from service.studies.structured_report import (
    BY_DEVICE,
    NO_REPORT,
    UNFINISHED,
    addenda_to,
    latest,
    read_report,
)
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.support.draft_reports import WRITTEN, draft_report, image_header
from tests.support.structured_reports import (
    CLASSES,
    FINDING,
    FINDINGS,
    IMPRESSION,
    IMPRESSIONS,
    INFERRED,
    MODIFIES,
    OBSERVES,
    PROPERTY,
    code,
    coded,
    content_item,
    measured,
    person,
    plain_report,
    report_dataset,
    report_file,
    said,
    section,
    undefined_lengths,
)

MILLIMETRE = ("mm", "UCUM", "millimeter")
NODULE = ("27925004", "SCT", "Nodule")


def text_of(*content, **elements):
    return read_report(report_file(*content, **elements)).text


@pytest.mark.parametrize("sop_class", CLASSES.values(), ids=CLASSES)
@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ],
)
def test_a_report_of_tid_2000_has_its_sections(sop_class, syntax):
    data = plain_report("Clear lungs.", "Normal.", SOPClassUID=sop_class, syntax=syntax)
    assert read_report(data).text == "FINDINGS:\nClear lungs.\n\nIMPRESSION:\nNormal."


def test_sequences_of_undefined_length_read_the_same():
    dataset = report_dataset(section(FINDINGS, said("Clear."), code(NODULE)))
    defined = read_report(dicom_bytes(dataset)).text
    assert read_report(dicom_bytes(undefined_lengths(dataset))).text == defined == (
        "FINDINGS:\nClear.\nNodule."
    )  # fmt: skip


@pytest.mark.parametrize(
    ("concept", "heading"),
    [
        (("121070", "DCM", "Findings"), "FINDINGS"),
        (("121070", "DCM", "Befund"), "FINDINGS"),
        (("59776-5", "LN", "Procedure findings"), "FINDINGS"),
        (("18782-3", "LN", "Study observation"), "FINDINGS"),
        (("121072", "DCM", "Impressions"), "IMPRESSION"),
        (("19005-8", "LN", "Impression"), "IMPRESSION"),
        (("121076", "DCM", "Conclusions"), "IMPRESSION"),
        (("121060", "DCM", "History"), "HISTORY"),
        (("121109", "DCM", "Indications for Procedure"), "INDICATION"),
        (("18785-6", "LN", "Reason for study"), "INDICATION"),
        (("121074", "DCM", "Recommendations"), "RECOMMENDATION"),
        (("121068", "DCM", "Previous Findings"), "COMPARISON"),
        (("1", "99LOCAL", "Findings"), "FINDINGS"),
        (("F1", "SRT", "Clinical impression"), "CLINICAL IMPRESSION"),
        (("77", "99RIS", "Opinion"), "OPINION"),
        (("78", "99RIS", "Technique"), "TECHNIQUE"),
        (("79", "99RIS", "Résultats"), "RESULTATS"),
        (("80", "99RIS", "Radiology: main part"), "RADIOLOGY MAIN PART"),
    ],
)
def test_a_heading_is_known_by_its_code_or_else_by_its_meaning(concept, heading):
    assert text_of(section(concept, said("Clear.", None))) == f"{heading}:\nClear."


@pytest.mark.parametrize(
    ("concept", "kind"),
    [
        (("121071", "DCM", "Finding"), "findings"),
        (("121077", "DCM", "Conclusion"), "impression"),
        (("121073", "DCM", "Impression"), "impression"),
        (("5", "99X", "Impression"), "impression"),
    ],
)
def test_a_plain_tree_of_texts_has_the_sections_of_its_concepts(concept, kind):
    text = text_of(said("Lungs are clear.", concept), said("Cough.", ("121061", "DCM", "History")))
    assert described(text) == [(kind, "Lungs are clear.")]


def test_a_text_that_is_a_whole_report_is_left_as_it_is():
    whole = "INDICATION: Cough.\n\nFINDINGS:\nClear lungs.\n\nIMPRESSION: Normal."
    assert text_of(said(whole.replace("\n", "\r\n"), ("1", "99X", "Study text"))) == whole
    assert text_of(said(whole, ("121111", "DCM", "Summary"))).endswith(whole)


def test_items_of_one_section_are_lines_that_end():
    text = text_of(
        section(FINDINGS, said("Clear lungs"), said("No effusion", None), code(NODULE)),
        section(IMPRESSIONS, said("Nodule", IMPRESSION)),
        section(FINDINGS, said("Normal heart.")),
    )
    assert described(text) == [
        ("findings", "Clear lungs."),
        ("findings", "No effusion."),
        ("findings", "Nodule."),
        ("findings", "Normal heart."),
        ("impression", "Nodule."),
    ]


def test_codes_and_numbers_say_what_they_mean():
    side = code(("24028007", "SCT", "Right"), ("G-C171", "SRT", "Laterality"), relation=MODIFIES)
    size = measured("12.5", MILLIMETRE, ("G-A22A", "SRT", "Length"), relation=PROPERTY)
    text = text_of(
        section(
            FINDINGS,
            code(NODULE, FINDING, side, size, said("Seen before.", None, relation=INFERRED)),
            measured("0.48", ("1", "UCUM", "no units"), ("99", "99X", "Cardiothoracic ratio")),
            measured("2", ("{count}", "UCUM", "count"), ("98", "99X", "Drains")),
        )
    )
    assert text == (
        "FINDINGS:\nNodule (Laterality: Right; Length: 12.5 mm).\nSeen before.\n"
        "Cardiothoracic ratio: 0.48.\nDrains: 2."
    )


def test_what_a_finding_was_inferred_from_stays_in_its_own_section():
    finding = said("Opacity in the left lung.", FINDING, relation=INFERRED)
    text = text_of(section(IMPRESSIONS, said("Pneumonia.", IMPRESSION, finding)))
    assert described(text) == [
        ("impression", "Pneumonia."),
        ("findings", "Opacity in the left lung."),
    ]


def test_nested_containers_are_labels_within_a_section():
    lungs = section(("39607008", "SCT", "Lungs"), said("Clear.", None), said("Well aired.", None))
    heart = section(("80891009", "SCT", "Heart"), said("Not enlarged.", None))
    text = text_of(section(FINDINGS, lungs, heart))
    assert text == "FINDINGS:\nLungs: Clear.\nWell aired.\nHeart: Not enlarged."
    assert {section.name for section in sections(text) if section.body} == {"findings"}


def test_words_of_one_sentence_are_one_line():
    """ContinuityOfContent CONTINUOUS (PS3.3 C.18.8)."""
    words = (
        said("A mass of", None),
        measured("3", ("cm", "UCUM", "centimeter"), ("1", "99X", "Diameter")),
        said("was seen.", None),
    )
    item = section(None, *words)
    item.ContinuityOfContent = "CONTINUOUS"
    assert text_of(section(FINDINGS, item)) == "FINDINGS:\nA mass of 3 cm was seen."


def test_who_observed_whom_and_when_is_not_in_the_text_and_is_known():
    observer = [
        content_item("CODE", ("121005", "DCM", "Observer Type"), relation=OBSERVES,
                     ConceptCodeSequence=[coded(("121006", "DCM", "Person"))]),
        person("Roe^Jane"),
        said("St. Mary", ("121009", "DCM", "Person Observer's Organization Name")),
        said("X9", ("121030", "DCM", "Subject ID")),
        said("Dr. Poe", ("1", "99X", "Referring Physician")),
        content_item("PNAME", ("1", "99X", "Reader"), PersonName="Low^Ann"),
        content_item("DATE", ("1", "99X", "Day"), Date="20260312"),
        content_item("DATETIME", ("1", "99X", "When"), DateTime="20260312101500"),
        content_item("TIME", ("1", "99X", "Hour"), Time="101500"),
        content_item("UIDREF", ("1", "99X", "Object"), UID="1.2.3.4.5"),
        code(("en", "RFC5646", "English"), ("121049", "DCM", "Language"), relation=MODIFIES),
    ]  # fmt: skip
    report = read_report(report_file(*observer, section(FINDINGS, *observer, said("Clear."))))
    assert report.text == "FINDINGS:\nClear."
    assert report.identity.people >= {"Roe^Jane", "Low^Ann", "Dr. Poe"}
    assert report.identity.phrases >= {"St. Mary", "X9"}


@pytest.mark.parametrize(
    ("meaning", "is_text"),
    [
        ("Radiologist Report", True),
        ("Radiologist Impression", True),
        ("Verified findings", True),
        ("Referring Physician", False),
        ("Patient Name", False),
        ("Accession Number", False),
    ],
)
def test_a_short_text_of_a_concept_that_names_somebody_is_a_name(meaning, is_text):
    report = read_report(report_file(said("Jane Roe.", ("1", "99X", meaning)), said("Clear.")))
    assert ("Jane Roe." in report.text) == is_text == ("Jane Roe." not in report.identity.people)
    long = "The lungs are clear, the heart is not enlarged, no effusion, no fracture."
    assert long in text_of(said(long, ("1", "99X", meaning)))


def test_what_tracks_a_lesion_and_how_it_was_acquired_is_neither_text_nor_a_name():
    tracking = said("Lesion 1", ("112039", "DCM", "Tracking Identifier"), relation=OBSERVES)
    upright = said("upright", ("1", "99X", "Position"), relation="HAS ACQ CONTEXT")
    report = read_report(report_file(section(FINDINGS, tracking, upright, said("Lesion 1."))))
    assert report.text == "FINDINGS:\nLesion 1."
    assert "upright" not in report.identity.phrases


def test_the_procedure_that_is_reported_is_the_examination():
    chest = ("399208008", "SCT", "Plain chest X-ray")
    procedure = code(chest, ("121058", "DCM", "Procedure reported"), relation=MODIFIES)
    text = text_of(procedure, section(FINDINGS, said("Clear.")))
    assert text == "EXAMINATION:\nPlain chest X-ray.\n\nFINDINGS:\nClear."


@pytest.mark.parametrize(
    ("character_set", "text"),
    [
        ("ISO_IR 100", "Größe unverändert."),
        ("ISO_IR 192", "Größe 正常."),
        ("ISO_IR 144", "Лёгкие чистые."),
        ("ISO_IR 126", "Καθαροί πνεύμονες."),
        (["", "ISO 2022 IR 87"], "Normal 正常です."),
        (["ISO 2022 IR 6", "ISO 2022 IR 149"], "Normal 정상."),
        ("GB18030", "心肺正常."),
    ],
)
def test_texts_are_read_in_their_character_set(character_set, text):
    assert text_of(said(text), SpecificCharacterSet=character_set).endswith(text)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_report_that_names_no_character_set_is_utf_8_or_else_latin_1(encoding):
    data = report_file(said("Gr~sse."), SpecificCharacterSet=None)
    written = "Grö".encode(encoding)
    data = data.replace(b"Gr~sse.", (written + b"sse.")[:7].ljust(7, b"e"))
    assert "Grö" in read_report(data).text


@pytest.mark.parametrize(
    ("elements", "fault"),
    [
        ({}, None),
        ({"CompletionFlag": None}, None),
        ({"CompletionFlag": "PARTIAL"}, UNFINISHED),
        ({"CompletionFlagDescription": "Rejected by the department"}, UNFINISHED),
        ({"CompletionFlagDescription": "Complete"}, None),
        ({"VerificationFlag": "VERIFIED"}, None),
        ({"ContentSequence": None}, NO_REPORT),
        ({"ConceptNameCodeSequence": [coded(("113701", "DCM", "Dose Report"))]}, NO_REPORT),
    ],
)
def test_a_report_counts_if_it_is_complete_and_a_report(elements, fault):
    assert read_report(plain_report("Clear.", **elements)).fault == fault


def test_a_report_of_doses_or_of_numbers_alone_is_none():
    template = report_dataset()
    template.TemplateIdentifier = "10001"
    for keyword in ("ContentSequence", "SpecificCharacterSet"):
        delattr(template, keyword)
    dose = plain_report("Clear.", ContentTemplateSequence=[template])
    numbers = report_file(
        section(("126010", "DCM", "Imaging Measurements"), measured("3", MILLIMETRE, NODULE))
    )
    assert [read_report(each).fault for each in (dose, numbers)] == [NO_REPORT] * 2


def test_a_report_of_findings_by_codes_alone_is_one():
    report = read_report(report_file(section(FINDINGS, code(NODULE))))
    assert (report.fault, report.text) == (None, "FINDINGS:\nNodule.")


def replacing(uid):
    document, series, study = (report_dataset() for _ in range(3))
    for item in (document, series, study):
        item.clear()
    document.ReferencedSOPClassUID, document.ReferencedSOPInstanceUID = CLASSES["enhanced"], uid
    series.ReferencedSOPSequence, series.SeriesInstanceUID = [document], "1.2.3.4"
    study.ReferencedSeriesSequence, study.StudyInstanceUID = [series], "1.2.3"
    return {"PredecessorDocumentsSequence": [study]}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"ContentTime": "101500"}, {"ContentTime": "101501"}),
        ({"ContentDate": "20260311", "ContentTime": "230000"}, {}),
        ({"ContentTime": "230000", "SOPInstanceUID": "1.9"}, replacing("1.9")),
        ({"ContentTime": "230000", "CompletionFlag": "PARTIAL"}, {}),
        ({"ContentTime": "230000", "PreliminaryFlag": "PRELIMINARY"}, {}),
    ],
)
def test_the_report_that_counts_is_the_latest_that_none_replaces(first, second):
    reports = [
        read_report(plain_report(text, **elements))
        for text, elements in (("One.", first), ("Two.", second))
    ]
    for order in (reports, reports[::-1]):
        assert latest(order) is reports[1]


def test_reports_that_replace_each_other_still_leave_one():
    reports = [
        read_report(plain_report("One.", SOPInstanceUID="1.1", **replacing("1.2"))),
        read_report(plain_report("Two.", SOPInstanceUID="1.2", **replacing("1.1"))),
    ]
    assert latest(reports) is reports[1]
    assert latest([]) is None


ADDENDUM = ("55107-7", "LN", "Addendum")
TITLED = {"ConceptNameCodeSequence": [coded(("7", "99RIS", "Radiology Report Addendum"))]}


@pytest.mark.parametrize(
    ("content", "elements"),
    [
        ([section(ADDENDUM, said("A nodule in the right apex."))], {}),
        ([section(ADDENDUM, section(FINDINGS, said("A nodule in the right apex.")))], {}),
        ([said("ADDENDUM: A nodule in the right apex.", ("1", "99X", "Text"))], {}),
        ([said("A nodule in the right apex.", ("1", "99X", "Text"))], TITLED),
        ([section(FINDINGS, said("A nodule in the right apex."))], TITLED),
    ],
)
def test_an_addendum_of_its_own_leaves_the_report_that_it_names(content, elements):
    first = read_report(plain_report("Clear.", "Normal.", SOPInstanceUID="1.1"))
    made = {"SOPInstanceUID": "1.2", "ContentTime": "120000"}
    addendum = read_report(report_file(*content, **made, **replacing("1.1"), **elements))
    assert latest([addendum, first]) is first
    assert addenda_to(first, [addendum, first, addendum]) == [addendum]
    assert addendum.text.startswith("ADDENDUM:")
    assert "A nodule in the right apex." in addendum.text
    assert latest([addendum]) is addendum


def test_addenda_that_name_each_other_follow_each_other():
    report = read_report(plain_report("Clear.", "Normal.", SOPInstanceUID="1.1"))
    first, second = (
        read_report(
            report_file(
                section(ADDENDUM, said("A nodule.")),
                **{"SOPInstanceUID": uid, "ContentTime": time} | replacing(before),
            )
        )
        for uid, time, before in (("1.2", "120000", "1.1"), ("1.3", "130000", "1.2"))
    )
    assert addenda_to(report, [second, report, first]) == [first, second]


def test_a_report_that_was_amended_replaces_what_it_names():
    first = read_report(plain_report("Clear.", "Normal.", SOPInstanceUID="1.1"))
    early = read_report(report_file(section(ADDENDUM, said("Called."))))
    whole = section(FINDINGS, said("Nodule.")), section(IMPRESSIONS, said("Nodule.", IMPRESSION))
    amended = read_report(
        report_file(
            *whole,
            section(ADDENDUM, said("Called at noon.")),
            **{"ContentTime": "120000"} | TITLED | replacing("1.1"),
        )
    )
    assert latest([first, amended, early]) is amended
    assert addenda_to(amended, [first, amended, early]) == []


def test_measurements_made_later_do_not_take_the_place_of_the_report():
    title = {"ConceptNameCodeSequence": [coded(("126000", "DCM", "Imaging Measurement Report"))]}
    made = {"ContentTime": "230000", **title}
    numbers = read_report(report_file(section(FINDINGS, code(NODULE)), **made))
    report = read_report(plain_report("Clear."))
    assert latest([report, numbers]) is report
    assert latest([numbers]) is numbers


def observed_by(*kinds):
    concept = ("121005", "DCM", "Observer Type")
    return [code((kind, "DCM", "x"), concept, relation=OBSERVES) for kind in kinds]


@pytest.mark.parametrize(
    ("kinds", "verified", "fault"),
    [
        (["121007"], "UNVERIFIED", BY_DEVICE),
        (["121007"], "VERIFIED", None),
        (["121006"], "UNVERIFIED", None),
        (["121007", "121006"], "UNVERIFIED", None),
        ([], "UNVERIFIED", None),
    ],
)
def test_a_report_by_a_device_counts_once_somebody_has_verified_it(kinds, verified, fault):
    content = [*observed_by(*kinds), section(FINDINGS, said("Clear."))]
    assert read_report(report_file(*content, VerificationFlag=verified)).fault == fault


def test_an_own_draft_is_no_report_whatever_a_pacs_writes_in_its_header():
    draft = dcmread(
        io.BytesIO(structured_report(draft_report(), [image_header()], written=WRITTEN))
    )
    draft.Manufacturer, draft.CompletionFlag = "PACS", "COMPLETE"
    assert read_report(dicom_bytes(draft)).fault == BY_DEVICE
    draft.VerificationFlag = "VERIFIED"
    signed = read_report(dicom_bytes(draft))
    assert signed.fault is None
    assert "passage" not in signed.text
    assert [kind for kind, _ in described(signed.text)] == ["findings", "findings", "impression"]


def concept(value, scheme, meaning):
    return CodedConcept(value=value, scheme_designator=scheme, meaning=meaning)


@pytest.mark.parametrize("made_by", [EnhancedSR, ComprehensiveSR])
def test_a_report_by_highdicom_is_read(made_by):
    image = dicom_dataset(
        StudyInstanceUID=generate_uid(), SeriesInstanceUID=generate_uid(), PatientID="p1",
        PatientName="Doe^Jane", PatientBirthDate="", PatientSex="", StudyID="", StudyDate="",
        StudyTime="", AccessionNumber="", ReferringPhysicianName="",
    )  # fmt: skip
    dicom_bytes(image)
    contains = RelationshipTypeValues.CONTAINS

    def container(heading, *items):
        found = ContainerContentItem(concept(*heading), relationship_type=contains)
        found.ContentSequence = list(items)
        return found

    finding = TextContentItem(concept(*FINDING), "Lungs are clear.", contains)
    nodule = CodeContentItem(concept(*FINDING), concept(*NODULE), contains)
    length = NumContentItem(
        concept("G-A22A", "SRT", "Length"), 4.0, concept(*MILLIMETRE),
        relationship_type=RelationshipTypeValues.HAS_PROPERTIES,
    )  # fmt: skip
    nodule.ContentSequence = [length]
    root = ContainerContentItem(concept("18748-4", "LN", "Diagnostic imaging report"))
    name = PnameContentItem(
        concept("121008", "DCM", "Person Observer Name"), "Roe^Ann",
        RelationshipTypeValues.HAS_OBS_CONTEXT,
    )  # fmt: skip
    root.ContentSequence = [name, container(FINDINGS, finding, nodule)]
    report = made_by(
        evidence=[image], content=root, series_instance_uid=generate_uid(), series_number=1,
        sop_instance_uid=generate_uid(), instance_number=1, manufacturer="Test", is_complete=True,
    )  # fmt: skip
    read = read_report(dicom_bytes(report))
    assert read.text == "FINDINGS:\nLungs are clear.\nNodule (Length: 4.0 mm)."
    assert read.fault is None
    assert {"Doe^Jane", "Roe^Ann"} <= read.identity.people


XML = """<?xml version="1.0" encoding="UTF-8"?>
<report type="Basic Text SR">
  <sopclass uid="1.2.840.10008.5.1.4.1.1.88.11"/>
  <charset>ISO_IR 100</charset><modality>SR</modality>
  <patient><name><last>Doe</last><first>Jane</first></name><id>p1</id></patient>
  <study uid="1.2.3"/><series uid="1.2.3.4"/><instance uid="1.2.3.4.5"/>
  <document><completion flag="COMPLETE"/><verification flag="UNVERIFIED"/>
  <content><date>2026-03-12</date><time>10:15:00</time><container flag="SEPARATE">
    <concept><value>18748-4</value><scheme><designator>LN</designator></scheme>
      <meaning>Report</meaning></concept>
    <container flag="SEPARATE"><relationship>CONTAINS</relationship>
      <concept><value>121070</value><scheme><designator>DCM</designator></scheme>
        <meaning>Findings</meaning></concept>
      <text><relationship>CONTAINS</relationship>
        <concept><value>121071</value><scheme><designator>DCM</designator></scheme>
          <meaning>Finding</meaning></concept>
        <value>Clear lungs.</value></text>
    </container>
  </container></content></document>
</report>
"""


@pytest.mark.skipif(shutil.which("xml2dsr") is None, reason="dcmtk is not installed")
def test_a_report_by_dcmtk_is_read(tmp_path):
    (tmp_path / "report.xml").write_text(XML)
    subprocess.run(["xml2dsr", "report.xml", "report.dcm"], cwd=tmp_path, check=True)
    report = read_report((tmp_path / "report.dcm").read_bytes())
    assert (report.text, report.fault) == ("FINDINGS:\nClear lungs.", None)
    assert "Doe^Jane" in report.identity.people


def test_the_report_of_dcmtks_own_tests_is_read():
    report = read_report(Path(get_testdata_file("test-SR.dcm")).read_bytes())
    assert report.text.startswith("A mass of 3 Length Unit was detected.")
    assert "Inferred Sample Text" in report.text
    assert {"Riesmeier^Jörg", "Test^S R"} <= report.identity.people
    assert datetime(2001, 2, 13).date() in report.identity.dates
