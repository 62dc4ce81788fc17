"""A table of rules decides which received radiographs get a report."""

import dataclasses

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless

from service.errors import ImageUndecodable, SettingInvalid
from service.pacs.desk.received import Received, read_received
from service.pacs.desk.rules import Rules, read_rules
from service.studies.own_drafts import MANUFACTURER
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset
from tests.support.archive import archived
from tests.support.synthetic import radiograph

CHEST = Received("1.2", "1.3", True, "DX", "CHEST", "PA", "ER-1", "ACME")
HEADER = "modality,body_part,view,station,process\n"


def verdict(rules, **changes):
    found = rules.verdict(dataclasses.replace(CHEST, **changes))
    return found.process, found.rule


@pytest.fixture
def table(tmp_path):
    def write(rows, header=HEADER, encoding="utf-8"):
        path = tmp_path / "rules.csv"
        path.write_text(header + rows, encoding=encoding)
        return read_rules(path)

    return write


@pytest.mark.parametrize(
    ("body_part", "processed"),
    [("CHEST", True), ("", True), ("THORAX AP", True), ("XYZ", True), ("KNEE", False)],
)
def test_without_a_table_chests_and_unnamed_body_parts_are_processed(body_part, processed):
    assert verdict(Rules(), body_part=body_part) == (processed, "default")


def test_the_first_row_that_matches_decides(table):
    rules = table("DX,chest,PA,,no\nDX,CHEST,,,yes\n,,,icu*,no\n*,*,*,*,yes\n")
    assert verdict(rules) == (False, "row 1")
    assert verdict(rules, view="AP") == (True, "row 2")
    assert verdict(rules, body_part="", station="ICU 7") == (False, "row 3")
    assert verdict(rules, body_part="KNEE") == (True, "row 4")


def test_where_no_row_matches_the_default_decides(table):
    rules = table("CR,,,,no\n")
    assert verdict(rules) == (True, "default")
    assert verdict(rules, body_part="HAND") == (False, "default")


def test_a_pattern_matches_the_whole_value_and_only_the_asterisk_is_special(table):
    rules = table("D.,,,,no\n,CH,,,no\n,,,*R-?,no\n")
    assert verdict(rules) == (True, "default")


@pytest.mark.parametrize("change", [{"radiograph": False}, {"manufacturer": MANUFACTURER.upper()}])
def test_no_row_lets_in_what_is_no_radiograph_or_our_own_draft(table, change):
    assert verdict(table("*,*,*,*,yes\n"), **change)[0] is False


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ("DX,CHEST,PA,,yes\nDX,,,,maybe\n", "row 2, column process"),
        ("DX,CHEST\n", "row 1, column process"),
        (f",,,{'A' * 65},yes\n", "row 1, column station"),
        (",*A*B*C*D*,,,yes\n", "row 1, column body_part"),
        ("\n" + "CR,,,,yes\n" * 1001, "more than 1000 rows"),
        ('"CR,,,,yes\n', "cannot be read as CSV"),
    ],
)
def test_a_bad_row_is_named_by_its_number_and_column(table, rows, named):
    with pytest.raises(SettingInvalid, match=named):
        table(rows)


def test_a_table_needs_its_five_columns_in_any_order(table):
    with pytest.raises(SettingInvalid, match="must name the columns"):
        table("CR,yes\n", header="modality,process\n")
    rules = table("no,PA,,,\n", header="process,view,station,body_part,modality\n")
    assert verdict(rules) == (False, "row 1")


def test_a_table_that_cannot_be_read_is_a_wrong_setting(tmp_path, table):
    with pytest.raises(SettingInvalid, match="ECLIP_RULES"):
        read_rules(tmp_path / "missing.csv")
    with pytest.raises(SettingInvalid, match="UTF-8"):
        table("CR,,,Röntgen,no\n", encoding="utf-16")


WORDS = {
    "StudyInstanceUID": "1.2.3",
    "SOPInstanceUID": "1.2.3.4",
    "Modality": "DX",
    "BodyPartExamined": "chest ",
    "ViewPosition": "PA",
    "StationName": "er-1",
    "Manufacturer": "Acme",
}


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, JPEGLSLossless]
)
def test_what_sorts_an_object_is_read_in_any_syntax(syntax):
    file = archived(syntax, radiograph(64, 64, 12), **WORDS)
    words = ("DX", "CHEST", "PA", "ER-1", "ACME")
    assert read_received(file) == Received("1.2.3", "1.2.3.4", True, *words)


def test_what_sorts_an_object_is_found_behind_large_private_elements():
    dataset = dicom_dataset(**WORDS)
    block = dataset.private_block(0x0009, "TEST", create=True)
    block.add_new(1, "OB", bytes(2**17))
    assert read_received(dicom_bytes(dataset)).study_uid == "1.2.3"


def test_an_object_of_another_kind_is_no_radiograph():
    ct = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "Modality": "CT"}
    assert not read_received(dicom_bytes(dicom_dataset(**WORDS | ct))).radiograph


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"no DICOM" * 100,
        bytes(128) + b"DICM",
        dicom_bytes(dicom_dataset(SOPInstanceUID="1.2")),
        dicom_bytes(dicom_dataset(**WORDS | {"StudyInstanceUID": "../.."})),
    ],
)
def test_what_names_no_study_is_refused(file):
    with pytest.raises(ImageUndecodable):
        read_received(file)
