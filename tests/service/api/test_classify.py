import json
import math

import pytest

from service.settings import DEMO_BUNDLE

LABELS = {
    "effusion": {"present": ["A pleural effusion."], "absent": ["No pleural effusion."]},
    "mass": {"present": ["A lung mass.", "There is a mass."]},
}


def findings(answer):
    assert answer.status_code == 200, answer.text
    (item,) = answer.json()["items"]
    return {finding["label"]: finding for finding in item["findings"]}


def test_without_a_choice_the_bundles_own_labels_answer_calibrated(client, radiograph):
    found = findings(client.post("/classify", files={"files": radiograph}))
    labels = json.loads((DEMO_BUNDLE / "labels.json").read_text())["phantom"]
    assert list(found) == list(labels)
    assert all(f["calibrated"] and 0 < f["probability"] < 1 for f in found.values())
    for name, finding in found.items():
        low, high = labels[name]["calibration"]["abstain"]
        assert finding["abstained"] == (low < finding["probability"] < high)
    named = client.post("/classify", files={"files": radiograph}, data={"label_set": "phantom"})
    for label, finding in findings(named).items():
        assert finding["probability"] == pytest.approx(found[label]["probability"], abs=1e-4)


def test_a_callers_labels_are_raw_scores_in_every_form(client, radiograph, in_base64):
    form = client.post(
        "/classify", files={"files": radiograph}, data={"labels": json.dumps(LABELS)}
    )
    body = client.post(
        "/classify", json={"images": [{"data": in_base64(radiograph)}], "labels": LABELS}
    )
    raw = client.post("/classify", params={"labels": json.dumps(LABELS)}, content=radiograph)
    for answer in (form, body, raw):
        found = findings(answer)
        assert list(found) == ["effusion", "mass"]
        assert not any(f["calibrated"] or f["abstained"] for f in found.values())
        assert found["mass"]["probability"] is None
        assert 0 < found["effusion"]["probability"] < 1


def test_a_raw_probability_is_the_softmax_of_present_against_absent(client, radiograph):
    labels = json.dumps(
        {
            "yes": {"present": ["Nodule."], "absent": ["No nodule."]},
            "no": {"present": ["No nodule."], "absent": ["Nodule."]},
        }
    )
    found = findings(client.post("/classify", files={"files": radiograph}, data={"labels": labels}))
    scale = client.get("/bundle").json()["manifest"]["logit_scale"]
    margin = found["yes"]["similarity"] - found["no"]["similarity"]
    assert found["yes"]["probability"] == pytest.approx(
        1 / (1 + math.exp(-scale * margin)), abs=1e-4
    )
    assert found["yes"]["probability"] + found["no"]["probability"] == pytest.approx(1)


def test_a_bad_image_of_a_batch_has_its_own_error(client, radiograph):
    files = [("files", ("a", b"text")), ("files", ("b", radiograph))]
    items = client.post("/classify", files=files).json()["items"]
    assert items[0]["error"]["type"] == "urn:eclip:image/unsupported"
    assert items[1]["findings"]


@pytest.mark.parametrize(
    ("parameters", "status", "kind"),
    [
        ({"label_set": "chexpert"}, 422, "labels/unknown-set"),
        ({"labels": "{}"}, 422, "labels/empty"),
        ({"labels": '{"mass": {"present": []}}'}, 422, "labels/empty"),
        ({"labels": '{"mass": {}}'}, 422, "labels/empty"),
        ({"labels": '{"mass": {"present": [" "]}}'}, 422, "labels/invalid"),
        (
            {"labels": '{"mass": {"present": ["Mass."], "positive": ["Mass."]}}'},
            422,
            "labels/invalid",
        ),
        ({"labels": '{"mass": {"present": "Mass."}}'}, 422, "labels/invalid"),
        ({"labels": '{"mass": "Mass."}'}, 422, "labels/invalid"),
        ({"labels": '{"mass": NaN}'}, 400, "request/malformed"),
        ({"labels": '["mass"]'}, 400, "request/malformed"),
        ({"labels": "mass"}, 400, "request/malformed"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(
    client, problem, radiograph, parameters, status, kind
):
    answer = client.post("/classify", files={"files": radiograph}, data=parameters)
    problem(answer, status, kind)


def test_more_labels_than_the_bound_are_refused(client, problem, radiograph):
    labels = json.dumps({f"label {i}": {"present": ["Mass."]} for i in range(129)})
    answer = client.post("/classify", files={"files": radiograph}, data={"labels": labels})
    assert "128" in problem(answer, 422, "labels/invalid")["detail"]
