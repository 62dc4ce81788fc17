import json

import pytest

REPORT = "FINDINGS: Small left effusion. No pneumothorax. IMPRESSION: Effusion."
CANARY = "Doe-Jane-19610304"


def ndjson(*lines):
    content = "\n".join(json.dumps(line) for line in lines)
    return {"content": content, "headers": {"content-type": "application/x-ndjson"}}


def test_a_study_is_put_read_found_and_deleted(writable, problem, radiograph):
    put = writable.put(
        "/studies/s1",
        files={"files": radiograph},
        data={
            "patient_id": "p1",
            "report": REPORT,
            "view": "PA",
            "findings": '["effusion"]',
            "metadata": '{"age": 61}',
        },
    )
    assert put.status_code == 200, put.text
    study = put.json()
    assert study["study_id"].startswith("stu_")
    assert study["patient_id"].startswith("pat_")
    assert [p["text"] for p in study["passages"]] == [
        "Small left effusion.",
        "No pneumothorax.",
        "Effusion.",
    ]
    assert study["metadata"] == {"age": 61}
    for name in ("s1", study["study_id"]):
        assert writable.get(f"/studies/{name}").json() == study
        image = writable.get(f"/studies/{name}/image")
        assert image.headers["content-type"] == "image/jpeg"
        assert image.content.startswith(b"\xff\xd8\xff")
    assert writable.get(study["images"][0]["url"]).content == image.content
    found = writable.post("/retrieve", json={"text": "effusion"}).json()["hits"]
    assert [hit["study_id"] for hit in found] == [study["study_id"]]
    removed = writable.delete("/studies/s1")
    assert (removed.status_code, removed.headers["erased-within"]) == (204, "3600")
    problem(writable.get("/studies/s1"), 404, "study/unknown")
    problem(writable.delete("/studies/s1"), 404, "study/unknown")
    assert writable.post("/retrieve", json={"text": "effusion"}).json()["abstained"]


def test_putting_again_replaces_and_does_not_add(writable):
    writable.put("/studies/s1", json={"report": REPORT})
    first = writable.put("/studies/s1", json={"report": REPORT}).json()
    second = writable.put("/studies/s1", json={"report": "Lungs are clear."}).json()
    assert first["study_id"] == second["study_id"]
    found = writable.post("/retrieve", json={"text": "effusion", "target": "passage"}).json()
    assert [hit["text"] for hit in found["hits"]] == ["Lungs are clear."]


def test_a_batch_answers_for_each_study_in_order(writable, radiograph, in_base64):
    answer = writable.post(
        "/studies",
        **ndjson(
            {"study_id": "s1", "report": REPORT, "images": [{"data": in_base64(radiograph)}]},
            {"study_id": "s2"},
            {"report": REPORT},
            {"study_id": "s4", "report": REPORT},
        ),
    )
    assert answer.status_code == 200
    items = answer.json()["items"]
    assert [item["index"] for item in items] == [0, 1, 2, 3]
    assert [item.get("error", {}).get("type") for item in items] == [
        None,
        "urn:eclip:study/invalid",
        "urn:eclip:request/malformed",
        None,
    ]
    assert len(items[0]["study"]["images"]) == 1
    assert writable.get("/studies/s4").status_code == 200


def test_a_batch_as_a_form_names_its_files(writable, pictures):
    studies = [
        {"study_id": "s1", "images": ["b.jpg", "a.jpg"]},
        {"study_id": "s2", "images": ["c.jpg"]},
    ]
    files = [("files", (f"{n}.jpg", p)) for n, p in zip("ab", pictures, strict=False)]
    answer = writable.post("/studies", data={"studies": json.dumps(studies)}, files=files)
    items = answer.json()["items"]
    assert len(items[0]["study"]["images"]) == 2
    assert items[1]["error"]["type"] == "urn:eclip:study/invalid"


def test_files_of_the_same_name_are_refused(writable, problem, pictures):
    """Otherwise one patient's image would be stored in another's study."""
    studies = json.dumps([{"study_id": n, "images": ["1.jpg"]} for n in ("s1", "s2")])
    files = [("files", ("1.jpg", picture)) for picture in pictures[:2]]
    answer = writable.post("/studies", data={"studies": studies}, files=files)
    assert "same name" in problem(answer, 400, "request/malformed")["detail"]
    problem(writable.get("/studies/s1"), 404, "study/unknown")


def test_a_file_that_no_study_names_is_not_lost_silently(writable, problem, radiograph):
    studies = json.dumps([{"study_id": "s1", "report": REPORT}])
    files = {"files": ("1.png", radiograph)}
    answer = writable.post("/studies", data={"studies": studies}, files=files)
    problem(answer, 400, "request/malformed")
    answer = writable.put("/studies/s1", data={"report": REPORT}, files={"image": radiograph})
    assert "`files`" in problem(answer, 400, "request/malformed")["detail"]


def test_an_id_that_comes_twice_in_a_batch_is_taken_once(writable, radiograph, in_base64):
    lines = [
        {"study_id": "s1", "report": REPORT},
        {"study_id": " s1", "images": [{"data": in_base64(radiograph)}]},
    ]
    items = writable.post("/studies", **ndjson(*lines)).json()["items"]
    assert items[0]["study"]["report"] == REPORT
    assert items[1]["error"]["type"] == "urn:eclip:study/invalid"
    assert writable.get("/studies/s1").json()["images"] == []


def test_blanks_around_an_id_do_not_make_another_patient(writable):
    """DICOM pads its values: the guard must not miss a patient for a trailing blank."""
    writable.put("/studies/s1 ", json={"report": REPORT, "patient_id": "p1 "})
    assert writable.get("/studies/s1").json() == writable.get("/studies/ s1").json()
    for patient in ("p1", "p1 ", " p1", "p1\0"):
        exclude = {"patient_id": patient}
        found = writable.post("/retrieve", json={"text": "effusion", "exclude": exclude})
        assert found.json()["hits"] == []


def test_identifiers_never_come_back(writable):
    answers = [
        writable.put(f"/studies/{CANARY}", json={"patient_id": CANARY, "report": REPORT}),
        writable.get(f"/studies/{CANARY}"),
        writable.post("/studies", **ndjson({"study_id": CANARY, "patient_id": CANARY})),
        writable.get(f"/studies/{CANARY}x"),
        writable.put(f"/studies/{CANARY}", json={"patient_id": [CANARY], "report": REPORT}),
        writable.put("/studies/s", json={"metadata": {"patient_name": CANARY}, "report": "Clear."}),
        writable.post("/retrieve", json={"text": "effusion", "exclude": {"patient_id": CANARY}}),
        writable.get("/metrics"),
    ]
    for answer in answers:
        assert CANARY not in answer.text
        assert CANARY not in str(answer.headers)


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        ({}, 422, "study/invalid"),
        ({"report": "  "}, 422, "study/invalid"),
        ({"report": "x" * 20_001}, 422, "text/invalid"),
        ({"report": REPORT, "findings": "effusion"}, 400, "request/malformed"),
        ({"report": REPORT, "metadata": {"a": {"b": 1}}}, 400, "request/malformed"),
        ({"report": REPORT, "metadata": {"patient_name": "x"}}, 422, "study/invalid"),
        ({"report": REPORT, "images": [{"data": "AAAA"}]}, 415, "image/unsupported"),
        ({"report": REPORT, "patient": "p"}, 400, "request/malformed"),
    ],
)
def test_a_study_that_cannot_be_stored_is_refused(writable, problem, body, status, kind):
    problem(writable.put("/studies/s1", json=body), status, kind)
    problem(writable.get("/studies/s1"), 404, "study/unknown")


@pytest.mark.parametrize("content", [b"", b"\n \n", b"0\n" * 1_000_000])
def test_a_batch_of_none_or_of_countless_studies_is_malformed(writable, problem, content):
    answer = writable.post("/studies", content=content)
    problem(answer, 400, "request/malformed")


def test_a_batch_over_the_bound_is_malformed(writable, problem):
    lines = [{"study_id": f"s{i}", "report": REPORT} for i in range(5)]
    problem(writable.post("/studies", **ndjson(*lines)), 400, "request/malformed")
    answer = writable.post("/studies", data={"studies": "{}"}, files={"files": b"x"})
    problem(answer, 400, "request/malformed")


def test_an_image_that_is_not_there_is_unknown(writable, problem):
    writable.put("/studies/s1", json={"report": REPORT})
    problem(writable.get("/studies/s1/image"), 404, "study/unknown")
    problem(writable.get("/studies/s1/image?index=x"), 400, "request/malformed")


def test_what_the_library_holds_is_counted(writable, problem):
    for number, source in enumerate(("ward", "ward", "clinic")):
        body = {"report": REPORT, "source": source, "findings": ["effusion", "mass"][: 1 + number]}
        writable.put(f"/studies/s{number}", json=body)
    assert writable.get("/studies").json() == {
        "studies": 3,
        "source": {"clinic": 1, "ward": 2},
        "view": {},
        "findings": {"effusion": 3, "mass": 2},
    }
    some = writable.get("/studies", params={"findings": ["mass", "nodule"], "source": "ward"})
    assert some.json()["studies"] == 1
    for wrong in ({"finding": "mass"}, {"section": "findings"}):
        problem(writable.get("/studies", params=wrong), 400, "request/malformed")


def test_a_patient_leaves_with_every_study(writable, radiograph):
    for number, patient in enumerate((CANARY, CANARY, "p2")):
        writable.put(
            f"/studies/s{number}",
            files={"files": radiograph},
            data={"patient_id": patient, "report": REPORT},
        )
    removed = writable.delete(f"/patients/{CANARY}").json()
    assert removed == {"studies": 2, "erased_within_s": 3600}
    assert [writable.get(f"/studies/s{n}").status_code for n in range(3)] == [404, 404, 200]
    found = writable.post("/retrieve", json={"text": "effusion"}).json()["hits"]
    assert len(found) == 1
    assert writable.get("/studies").json()["studies"] == 1
    assert writable.delete(f"/patients/{CANARY}").json()["studies"] == 0
