import pytest

from training.data.sources import read_source
from training.data.sources.open_i import studies
from training.data.study import DataError

XML = """<?xml version="1.0" encoding="utf-8"?>
<eCitation>
  <uId id="CXR{uid}"/>
  <MedlineCitation><Article><Abstract>
    <AbstractText Label="COMPARISON">None.</AbstractText>
    <AbstractText Label="INDICATION">Positive TB test</AbstractText>
    <AbstractText Label="FINDINGS">{findings}</AbstractText>
    <AbstractText Label="IMPRESSION">Normal chest
      x-XXXX.</AbstractText>
  </Abstract></Article></MedlineCitation>
  <MeSH>{mesh}</MeSH>
  <parentImage id="CXR{uid}_1_IM-0001-3001"><caption>Xray Chest</caption></parentImage>
  <parentImage id="CXR{uid}_1_IM-0001-4001"><caption>Xray Chest</caption></parentImage>
</eCitation>
"""
MAJOR = (
    "<major>Cardiomegaly/borderline</major><major>Pulmonary Artery/enlarged</major>"
    "<major>Cardiomegaly/mild</major><minor>Lung</minor><automatic>heart</automatic>"
)


def row(uid, **fields):
    columns = ("MeSH", "Problems", "indication", "comparison", "findings", "impression")
    return {"uid": uid, **dict.fromkeys(columns, ""), **fields}


def test_the_xml_form_gives_report_images_and_problems(write, read):
    root = write(
        {
            "ecgen-radiology/1.xml": XML.format(uid=1, findings="Clear lungs.", mesh=MAJOR),
            "images/CXR1_1_IM-0001-3001.png": None,
            "images/CXR1_1_IM-0001-4001.png": None,
        }
    )
    found, skipped = read(studies(root))
    study = found["1"]
    assert study.patient_id == "1"
    assert study.source == "open_i"
    assert study.report == "FINDINGS: Clear lungs. IMPRESSION: Normal chest x-XXXX."
    assert study.images == tuple(f"images/CXR1_1_IM-0001-{n}001.png" for n in (3, 4))
    assert study.view is None
    assert study.findings == ("cardiomegaly", "pulmonary artery")
    assert not skipped


def test_xml_files_are_read_in_the_order_of_their_numbers(write, read):
    layout = {
        f"ecgen-radiology/{uid}.xml": XML.format(uid=uid, findings="", mesh="") for uid in (10, 9)
    }
    found, _ = read(studies(write(layout)))
    assert list(found) == ["9", "10"]
    assert found["9"].report == "IMPRESSION: Normal chest x-XXXX."
    assert found["9"].images == ()


def test_a_broken_xml_file_is_named(write):
    with pytest.raises(DataError, match=r"cannot read 7\.xml as XML: no element found"):
        list(studies(write({"ecgen-radiology/7.xml": "<eCitation>"})))


@pytest.mark.parametrize("name", ["reports.csv", "indiana_reports.csv"])
def test_a_report_without_images_is_a_study_without_images(write, read, name):
    root = write({name: [row("6", Problems="normal", findings="Clear.", impression="Normal.")]})
    found, _ = read(studies(root))
    assert found["6"].images == ()
    assert found["6"].view is None
    assert found["6"].report == "FINDINGS: Clear. IMPRESSION: Normal."
    assert found["6"].findings == ("no finding",)


def test_the_frontal_projections_are_the_images(write, read):
    names = [f"1_IM-0001-{number}001.dcm.png" for number in (4, 3)]
    root = write(
        {
            "indiana_reports.csv": [row("1", findings="Clear."), row("2", findings="Clear.")],
            "indiana_projections.csv": [
                {"uid": "1", "filename": names[0], "projection": "Lateral"},
                {"uid": "1", "filename": names[1], "projection": "Frontal"},
                {"uid": "2", "filename": "not-there.png", "projection": "Frontal"},
            ],
            f"images/images_normalized/{names[0]}": None,
            f"images/images_normalized/{names[1]}": None,
        }
    )
    found, _ = read(studies(root))
    assert found["1"].images == (f"images/images_normalized/{names[1]}",)
    assert found["1"].view == "frontal"
    assert found["2"].images == ()
    assert found["2"].view is None


def test_problems_are_lower_case_names_and_what_was_not_indexed_is_unlabelled(write, read):
    problems = {"1": "Catheters, Indwelling;Nodule ;Nodule", "2": "No Indexing", "3": ""}
    table = [row(uid, Problems=text, findings="x") for uid, text in problems.items()]
    found, _ = read(studies(write({"reports.csv": table})))
    findings = [study.findings for study in found.values()]
    assert findings == [("catheters, indwelling", "nodule"), None, None]


def test_tables_that_were_saved_again_match(write, read):
    root = write(
        {
            "indiana_reports.csv": [row("1.0", findings="Clear.", impression="nan")],
            "indiana_projections.csv": [{"uid": "1", "filename": "a.png", "projection": "FRONTAL"}],
            "images/images_normalized/a.png": None,
        }
    )
    found, _ = read(studies(root))
    assert found["1"].images == ("images/images_normalized/a.png",)
    assert found["1"].report == "FINDINGS: Clear."


def test_a_report_that_says_nothing_is_counted(write, read):
    found, skipped = read(studies(write({"reports.csv": [row("1", indication="Cough.")]})))
    assert not found
    assert skipped == {"empty report": 1}


def test_a_folder_without_the_collection_says_what_it_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none of indiana_reports\.csv, reports\.csv"):
        list(studies(tmp_path))


def test_the_published_reports_are_all_read(shared_data, read):
    root = shared_data / "open_i"
    if not root.is_dir():
        pytest.skip(f"open_i is not in {shared_data}")
    found, skipped = read(read_source("open_i", root))
    assert len(found) == 2271
    assert not skipped
    assert all(study.report.startswith(("FINDINGS: ", "IMPRESSION: ")) for study in found.values())
