"""Sends real radiographs, if a developer has some, through the whole service.

The demo bundle has seen phantoms alone, so these tests do not ask whether its answers are right.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys

import httpx
import pytest
from typer.testing import CliRunner

from service.cases.ingest import ingest
from service.cases.library import Query
from service.cases.schema import EVERYTHING, NOBODY, CaseFilter
from service.cases.sources import open_source
from service.settings import Settings
from service.wiring import open_services
from training.cli import cli
from training.data.manifest import read_manifest

pytestmark = pytest.mark.slow

BATCH = 16
UNSEEN = 5


@pytest.fixture(scope="module")
def pairs(shared_data, tmp_path_factory):
    """covid_chestxray in the form that `eclip-train data` writes."""
    root, out = shared_data / "covid_chestxray", tmp_path_factory.mktemp("pairs")
    arguments = ["data", "covid_chestxray", "--root", str(root), "--out", str(out)]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    return out


@pytest.fixture(scope="module")
def indexed(pairs, tmp_path_factory):
    """A data directory, to copy, whose library `eclip index` made from the pairs."""
    data_dir = tmp_path_factory.mktemp("indexed")
    subprocess.run(
        [sys.executable, "-m", "service.cli", "index", str(pairs / "studies.jsonl")],
        env=os.environ | {"ECLIP_DATA_DIR": str(data_dir)},
        check=True,
        timeout=200,
    )
    return data_dir


def test_two_sources_are_searched_together_and_apart(indexed, shared_data, tmp_path):
    """One library holds reports without images, and pairs of image and report."""
    reports = tmp_path / "open_i"
    arguments = ["data", "open_i", "--root", str(shared_data / "open_i"), "--out", str(reports)]
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    data_dir = shutil.copytree(indexed, tmp_path / "var")
    with open_services(Settings(data_dir=data_dir)) as wired:
        outcome = ingest(wired.library, open_source(reports / "studies.jsonl").entries)
        assert not outcome.rejected
        library = wired.library
        counted = library.store.facets(EVERYTHING)["source"]
        assert counted == {"covid_chestxray": 311, "open_i": 2271}
        for source in counted:
            query = Query(
                "passage", 10, NOBODY, words="pleural effusion", where=CaseFilter((source,))
            )
            hits = library.search(None, query)
            assert {hit.source for hit in hits} == {source}
            assert all(re.search("pleura|effus", hit.text, re.I) for hit in hits)
        both = library.search(None, Query("passage", 100, NOBODY, words="pleural effusion"))
        assert {hit.source for hit in both} == {*counted}


@pytest.fixture(scope="module")
def live(serve, indexed, tmp_path_factory):
    """A server with the pairs in its library."""
    data_dir = shutil.copytree(indexed, tmp_path_factory.mktemp("real") / "var")
    with (
        serve(data_dir) as server,
        httpx.Client(base_url=server.url, timeout=120) as client,
    ):
        yield client


def test_every_real_dicom_embeds(live, shared_data):
    facts = {}
    for path in sorted((shared_data / "dicom").glob("*.dcm")):
        answer = live.post("/embed/image", content=path.read_bytes())
        assert answer.status_code == 200, answer.text
        facts[path.name] = answer.json()["items"][0]["image"]
    assert len(facts) == 2
    assert facts["CR-MONO1-10-chest.dcm"]["inverted"]


def test_every_covid_radiograph_embeds(live, shared_data):
    images = sorted((shared_data / "covid_chestxray" / "images").iterdir())
    assert len(images) == 379
    for start in range(0, len(images), BATCH):
        files = [("files", path.read_bytes()) for path in images[start : start + BATCH]]
        answer = live.post("/embed/image", files=files)
        assert answer.status_code == 200
        assert all("embedding" in item for item in answer.json()["items"])


def test_all_pairs_are_indexed_and_unseen_images_get_reports_from_other_patients(
    live, shared_data, pairs
):
    studies = list(read_manifest(pairs / "studies.jsonl"))
    assert len(studies) == 311
    patient_of = {
        live.get(f"/studies/{s.study_id}").json()["study_id"]: s.patient_id for s in studies
    }
    assert len(patient_of) == 311
    for patient_id, image in _without_note(shared_data):
        exclude = json.dumps({"patient_id": patient_id})
        answer = live.post("/generate-report", files={"files": image}, data={"exclude": exclude})
        body = answer.json()
        sentences = [*body["report"]["findings"], *body["report"]["impression"]]
        evidence = {item["number"]: item for item in body["evidence"]}
        assert sentences
        assert patient_id not in {patient_of[item["study_id"]] for item in evidence.values()}
        for sentence in sentences:
            assert sentence["evidence"]
            for number in sentence["evidence"]:
                passages = live.get(f"/studies/{evidence[number]['study_id']}").json()["passages"]
                assert evidence[number]["text"] in [passage["text"] for passage in passages]


def _without_note(shared_data):
    """Returns (patient, image) of radiographs without a report."""
    root = shared_data / "covid_chestxray"
    with (root / "metadata.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if not row["clinical_notes"].strip()]
    found = [(row["patientid"], root / "images" / row["filename"]) for row in rows]
    return [(patient, path.read_bytes()) for patient, path in found if path.is_file()][:UNSEEN]
