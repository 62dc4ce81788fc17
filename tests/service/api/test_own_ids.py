"""A DICOM file says whose it is: it is stored so, and its patient's cases are left out."""

import json

import pytest

from service.identifiers import RULE
from tests.service.imaging.conftest import dicom_bytes, dicom_dataset

REPORT = "FINDINGS: Small left effusion."
FILES = "several patients"


def dicom(patient="MRN/77", study="1.2.3", **elements):
    return dicom_bytes(dicom_dataset(PatientID=patient, StudyInstanceUID=study, **elements))


@pytest.fixture
def bodies(in_base64):
    """Returns a request with these images in each form that takes them."""

    def of(*images, **fields):
        items = [{"data": in_base64(image)} for image in images]
        data = {n: v if isinstance(v, str) else json.dumps(v) for n, v in fields.items()}
        files = [("files", (f"{number}.dcm", image)) for number, image in enumerate(images)]
        forms = [{"json": {"images": items, **fields}}, {"files": files, "data": data}]
        return [*forms, {"content": images[0], "params": data}] if len(images) == 1 else forms

    return of


def test_put_takes_the_patient_of_the_file_and_says_so(writable, bodies):
    for body in bodies(dicom(), report=REPORT):
        answer = writable.put("/studies/s1", **body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["patient_id_from"] == "dicom"
        assert "MRN" not in answer.text
        assert "study_id_from" not in answer.json()  # the path has named it
        assert writable.get("/studies/s1").json().items() <= answer.json().items()
        assert writable.delete("/patients/MRN%2F77").json()["studies"] == 1


def test_the_patient_whom_the_caller_names_comes_first(writable, bodies):
    for body in bodies(dicom(), patient_id="p1"):
        assert "patient_id_from" not in writable.put("/studies/s1", **body).json()
        assert writable.delete("/patients/MRN%2F77").json()["studies"] == 0
        assert writable.delete("/patients/p1").json()["studies"] == 1


@pytest.mark.parametrize("patient", ["", "  ", None])
def test_a_file_without_a_patient_is_stored_without_one(writable, bodies, radiograph, patient):
    image = radiograph if patient is None else dicom(patient)
    for body in bodies(image):
        answer = writable.put("/studies/s1", **body).json()
        assert answer["patient_id"] is None
        assert "patient_id_from" not in answer


def test_the_ids_are_found_behind_large_private_elements(writable, bodies):
    dataset = dicom_dataset(PatientID="MRN/77", StudyInstanceUID="1.2.3")
    dataset.add_new(0x00090010, "LO", "SCANNER")
    dataset.add_new(0x00091001, "OB", bytes(2**21))
    answer = writable.put("/studies/s1", **bodies(dicom_bytes(dataset), report=REPORT)[1])
    assert answer.json()["patient_id_from"] == "dicom"


def test_files_of_several_patients_are_no_study(writable, problem, bodies):
    for body in bodies(dicom(), dicom("p2")):
        for answer in (
            writable.put("/studies/s1", **body),
            writable.post("/generate-report", **body),
        ):
            assert FILES in problem(answer, 422, "study/invalid")["detail"]
    for body in bodies(dicom(), dicom("p2"), patient_id="p1"):
        problem(writable.put("/studies/s1", **body), 422, "study/invalid")
    assert writable.get("/studies").json()["studies"] == 0


@pytest.mark.parametrize("patient", ["a//b", "a/../b", "x/image"])
def test_a_patient_whose_id_is_not_accepted_is_refused(writable, problem, bodies, patient):
    for body in bodies(dicom(patient)):
        detail = problem(writable.put("/studies/s1", **body), 422, "study/invalid")["detail"]
        assert RULE in detail
        assert patient not in detail
    for body in bodies(dicom(patient), patient_id="p1"):
        assert writable.put("/studies/s1", **body).status_code == 200


def test_a_line_takes_the_study_and_the_patient_of_its_files(writable, in_base64):
    def images(*files):
        return [{"data": in_base64(file)} for file in files]

    lines = [
        {"images": images(dicom(), dicom())},
        {"study_id": "s2", "images": images(dicom(study="1.2.4"))},
        {"report": REPORT},
        {"images": images(dicom(study="1.2.5"), dicom(study="1.2.6"))},
        {"images": images(dicom(study=""))},
        {"images": images(dicom(), dicom("p2"))},
        {"images": images(dicom())},
        {"study_id": "s2", "images": images(dicom(study="1.2.6"), dicom(study="1.2.5"))},
    ]
    answers = [writable.post("/studies", json=lines[:4]), writable.post("/studies", json=lines[4:])]
    items = [item for answer in answers for item in answer.json()["items"]]
    assert [item.get("error", {}).get("type", "")[10:] for item in items] == [
        "",
        "",
        "request/malformed",
        "study/invalid",
        "request/malformed",
        "study/invalid",
        "",
        "",
    ]
    first, second = items[0]["study"], items[1]["study"]
    assert (first["study_id_from"], first["patient_id_from"]) == ("dicom", "dicom")
    assert "study_id_from" not in second
    assert "1.2.3" not in answers[0].text
    assert writable.get("/studies/1.2.3").json()["study_id"] == first["study_id"]
    assert writable.get("/studies/1.2.4").status_code == 404
    assert writable.delete("/patients/MRN%2F77").json()["studies"] == 2


def test_a_file_of_a_form_names_the_study_of_its_line(writable):
    studies = json.dumps([{"images": ["a.dcm"], "report": REPORT}])
    files = {"files": ("a.dcm", dicom())}
    answer = writable.post("/studies", data={"studies": studies}, files=files)
    assert answer.json()["items"][0]["study"]["study_id_from"] == "dicom"
    assert writable.get("/studies/1.2.3").status_code == 200


@pytest.fixture
def library(writable):
    """Three studies: of the file's patient, of the file itself, and of another patient."""
    for name, patient in (("s1", "MRN/77"), ("1.2.3", None), ("s3", "p3")):
        body = {"report": REPORT, "patient_id": patient}
        assert writable.put(f"/studies/{name}", json=body).status_code == 200
    return writable


def test_a_file_leaves_its_own_patient_out_of_a_search_and_says_so(library, bodies, radiograph):
    for body in bodies(dicom()):
        found = library.post("/retrieve", **body).json()
        assert len(found["hits"]) == 1
        assert (found["patient_id_from"], found["study_id_from"]) == ("dicom", "dicom")
    for body in bodies(radiograph):
        found = library.post("/retrieve", **body).json()
        assert len(found["hits"]) == 3
        assert (found["patient_id_from"], found["study_id_from"]) == (None, None)
    for body in bodies(dicom(), exclude={"patient_id": "p3"}):
        found = library.post("/retrieve", **body).json()
        assert len(found["hits"]) == 1  # of the patient whom the file names
        assert (found["patient_id_from"], found["study_id_from"]) == ("request", "dicom")


def test_a_report_has_no_evidence_of_the_files_own_patient(library, bodies):
    other = library.get("/studies/s3").json()["study_id"]
    for body in bodies(dicom(BodyPartExamined="CHEST")):
        answer = library.post("/generate-report", **body)
        assert {item["study_id"] for item in answer.json()["evidence"]} == {other}
        assert answer.json()["patient_id_from"] == "dicom"


def test_the_latest_earlier_study_of_the_files_patient_is_the_prior(library, bodies):
    for study, day in (("1.2.1", "20250101"), ("1.2.2", "20250301"), ("1.2.9", "20270101")):
        for body in bodies(dicom(study=study, StudyDate=day, StudyTime="0900"), report=REPORT)[:1]:
            assert library.put(f"/studies/{study}", **body).status_code == 200
    before = library.get("/studies/1.2.2").json()["study_id"]
    asked = {"BodyPartExamined": "CHEST", "StudyDate": "20250301", "StudyTime": "0901"}
    for body in bodies(dicom(**asked)):
        answer = library.post("/generate-report", **body)
        assert (answer.json()["prior_study_id"], answer.json()["prior_from"]) == (before, "library")
        assert "20250301" not in answer.text
    for body in bodies(dicom(BodyPartExamined="CHEST")):
        answer = library.post("/generate-report", **body).json()
        assert (answer["prior_study_id"], answer["prior_from"]) == (None, None)


def test_an_abstention_says_that_the_files_own_patient_is_left_out(library, bodies):
    body = bodies(dicom(patient="p3", BodyPartExamined="CHEST"), filter={"source": ["none"]})[0]
    assert "are left out" in library.post("/generate-report", **body).json()["abstained"]


def test_files_of_several_studies_are_no_report(library, problem, bodies):
    images = dicom(), dicom(study="1.2.4")
    for body in bodies(*images):
        answer = library.post("/generate-report", **body)
        assert "StudyInstanceUIDs" in problem(answer, 422, "study/invalid")["detail"]
    for body in bodies(*images, report=REPORT):
        assert library.put("/studies/s9", **body).status_code == 200  # the path names it
