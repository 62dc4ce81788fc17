import json

import pytest

from service.settings import DEMO_LIBRARY

RECORDS = [json.loads(line) for line in DEMO_LIBRARY.read_text().splitlines()]


def hits(answer):
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["abstained"] == (body["hits"] == [])
    assert [hit["score"] for hit in body["hits"]] == sorted(
        (hit["score"] for hit in body["hits"]), reverse=True
    )
    return body["hits"]


def search(client, **parameters):
    return hits(client.post("/retrieve", json=parameters))


def test_a_stored_image_finds_itself_first(client, pictures):
    for index, picture in enumerate(pictures[:3]):
        found = hits(
            client.post("/retrieve", files={"files": picture}, data={"target": "image", "k": "3"})
        )
        assert len(found) == 3
        assert found[0]["score"] == pytest.approx(1, abs=1e-3)
        assert found[0]["findings"] == RECORDS[index]["findings"]
        assert found[0]["part"] == "image"
        assert found[0]["text"] is None
        assert client.get(found[0]["image_url"]).headers["content-type"] == "image/jpeg"


def test_a_stored_report_finds_itself_first(client):
    report = RECORDS[4]["report"]
    (found,) = search(client, text=report, k=1)
    assert found["text"] == report
    assert found["score"] == pytest.approx(1, abs=1e-3)


def test_an_image_finds_reports_and_passages_across_the_modalities(client, radiograph):
    for target in ("report", "passage"):
        found = hits(client.post("/retrieve", files={"files": radiograph}, data={"target": target}))
        assert len(found) == 10
        assert all(hit["part"] == target and hit["text"] for hit in found)
        assert all(bool(hit["passage_id"]) == (target == "passage") for hit in found)


def test_a_text_finds_images(client):
    found = search(client, text="There is severe cardiomegaly.", target="image", k=10)
    share = sum("cardiomegaly" in hit["findings"] for hit in found) / len(found)
    base_rate = sum("cardiomegaly" in record["findings"] for record in RECORDS) / len(RECORDS)
    assert share > 2 * base_rate


def test_filters_hold_for_every_hit(client):
    where = {"findings": ["nodule", "fibrosis"], "section": ["impression"]}
    found = search(client, text="Nodule.", target="passage", k=20, filter=where)
    assert found
    for hit in found:
        assert hit["section"] == "impression"
        assert {"nodule", "fibrosis"} & set(hit["findings"])
    assert search(client, text="Nodule.", filter={"source": ["nowhere"]}) == []


def test_the_named_patient_and_study_do_not_come_back(client, pictures):
    own = RECORDS[0]
    for exclude in ({"patient_id": own["patient_id"]}, {"study_id": own["study_id"]}):
        data = {"target": "image", "k": "5", "exclude": json.dumps(exclude)}
        found = hits(client.post("/retrieve", files={"files": pictures[0]}, data=data))
        assert len(found) == 5
        assert found[0]["score"] < 0.9999


def test_grouping_gives_each_study_once(client):
    plain = search(client, text="No pneumothorax.", target="passage", k=20)
    grouped = search(client, text="No pneumothorax.", target="passage", k=20, group_by="study")
    studies = [hit["study_id"] for hit in grouped]
    assert len(studies) == len(set(studies)) == 20
    assert len(plain) == 20


def test_it_abstains_below_the_least_score(client):
    found = search(client, text="No pneumothorax.", k=20)
    middle = found[9]["score"]
    assert len(search(client, text="No pneumothorax.", k=20, min_score=middle)) == 10
    assert search(client, text="No pneumothorax.", min_score=1) == []


def test_words_are_searched_where_that_is_asked(client):
    for target in ("report", "passage"):
        found = search(client, text="cardiomegaly", target=target, mode="sparse", k=50)
        assert found
        assert all("cardiomegaly" in hit["text"].lower() for hit in found)
    assert search(client, text="zebra", mode="sparse") == []


def test_meaning_and_words_together_find_what_either_finds(client):
    text = RECORDS[4]["report"]
    assert search(client, text=text, mode="hybrid", k=1)[0]["text"] == text
    assert len(search(client, text="zebra", mode="hybrid", k=7)) == 7


@pytest.mark.parametrize("mode", ["dense", "sparse", "hybrid"])
@pytest.mark.parametrize("group_by", [None, "study"])
def test_pages_neither_double_nor_lose_a_hit(client, mode, group_by):
    """Phantom reports say the same sentence many times, with the same score each time."""
    asked = {"text": "No pneumothorax.", "target": "passage", "mode": mode, "group_by": group_by}
    pages = [search(client, **asked, k=20, offset=offset) for offset in range(0, 120, 20)]
    found = [(hit["study_id"], hit["passage_id"]) for page in pages for hit in page]
    assert len(set(found)) == len(found) == 120


def test_diverse_hits_have_fewer_twins(client):
    """Phantom reports say the same sentence many times."""
    plain = search(client, text="No pneumothorax.", target="passage", k=20)
    diverse = search(client, text="No pneumothorax.", target="passage", k=20, diversity=0.5)
    assert len({hit["text"] for hit in diverse}) > len({hit["text"] for hit in plain})


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"text": "a", "k": 0},
        {"text": "a", "k": 101},
        {"text": "a", "target": "study"},
        {"text": "a", "min_score": 2},
        {"text": "a", "offset": -1},
        {"text": "a", "offset": 999},
        {"text": "a", "mode": "bm25"},
        {"text": "a", "mode": "sparse", "target": "image"},
        {"text": "a", "mode": "sparse", "min_score": 0.5},
        {"text": "a", "mode": "hybrid", "diversity": 0.5},
        {"text": "a", "diversity": 0},
        {"text": "a", "diversity": 0.5, "group_by": "study"},
        {"text": "a", "diversity": 0.5, "offset": 10},
        {"text": "a", "group_by": "patient"},
        {"text": "a", "filter": {"finding": ["nodule"]}},
        {"text": "a", "filter": "nodule"},
        {"text": "a", "exclude": {"patient": "p"}},
        {"text": "a", "exclude": {"patient_id": " "}},
        {"text": 7},
    ],
)
def test_what_is_not_a_search_is_malformed(client, problem, parameters):
    problem(client.post("/retrieve", json=parameters), 400, "request/malformed")


def test_an_image_and_a_text_at_once_are_malformed(client, problem, radiograph):
    answer = client.post("/retrieve", files={"files": radiograph}, data={"text": "Nodule."})
    problem(answer, 400, "request/malformed")
    two = [("files", ("a", radiograph)), ("files", ("b", radiograph))]
    problem(client.post("/retrieve", files=two), 400, "request/malformed")


def test_an_empty_text_is_not_the_same_as_no_text(client, problem):
    problem(client.post("/retrieve", json={"text": " "}), 422, "text/invalid")


def test_a_hit_shows_the_very_image_that_was_found(writable, pictures):
    files = [("files", ("a", pictures[0])), ("files", ("b", pictures[1]))]
    writable.put("/studies/s1", files=files, data={"report": "Nodule."})
    shown = [writable.get(f"/studies/s1/image?index={index}").content for index in (0, 1)]
    assert shown[0] != shown[1]
    for index in (0, 1):
        query = {"files": pictures[index]}
        (found,) = hits(writable.post("/retrieve", files=query, data={"target": "image", "k": "1"}))
        assert writable.get(found["image_url"]).content == shown[index]
