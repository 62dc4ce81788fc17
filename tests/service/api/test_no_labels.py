"""A bundle with texts and without a label set: only what is made of the set is missing."""

import json
import shutil
from pathlib import Path

import pytest

from service.settings import DEMO_BUNDLE, Settings
from tests.support.changed_bundles import unlabelled
from tests.support.server import in_process

LABELS = json.dumps({"effusion": {"present": ["Effusion."], "absent": ["No effusion."]}})


@pytest.fixture(scope="module")
def unnamed(tmp_path_factory):
    copy = Path(shutil.copytree(DEMO_BUNDLE, tmp_path_factory.mktemp("b") / "bundle"))
    settings = Settings(data_dir=tmp_path_factory.mktemp("var"), bundle=unlabelled(copy).path)
    with in_process(settings) as unnamed:
        yield unnamed


def test_it_is_ready_and_shows_no_label_set(unnamed):
    assert unnamed.get("/health/ready").json()["status"] == "ready"
    assert unnamed.get("/bundle").json()["label_sets"] == {}


@pytest.mark.parametrize("named", [{}, {"label_set": "phantom"}])
def test_labels_must_be_sent(unnamed, radiograph, problem, named):
    answer = unnamed.post("/classify", files={"files": radiograph}, data=named)
    detail = problem(answer, 422, "labels/unknown-set")["detail"]
    assert detail == "The bundle has no label set. Send your own `labels`."


def test_own_labels_are_scored(unnamed, radiograph):
    answer = unnamed.post("/classify", files={"files": radiograph}, data={"labels": LABELS}).json()
    ((finding,),) = (item["findings"] for item in answer["items"])
    assert answer["scoring"] == "softmax"
    assert 0 < finding["probability"] < 1
    assert not finding["calibrated"]


def test_a_report_is_written_without_findings(unnamed, radiograph):
    body = {"report": "FINDINGS: Small left pleural effusion."}
    unnamed.put("/studies/a", data=body, files={"files": radiograph})
    answer = unnamed.post("/generate-report", files={"files": radiograph})
    assert answer.status_code == 200, answer.text
    assert answer.json()["classification"] == []
