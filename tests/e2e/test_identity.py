"""Marked identities go through whole runs, and are found only in the drafts that go back.

What is searched: every file below the data and temporary directories while studies wait and after
the end, the logs and all that commands print, arguments and environments of the processes, spans,
metrics, answers of the API, and all bytes that go to a language model, a PACS or a FHIR server.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from tests.support.marks import MARK, ROOT, find_marks, marked_image, marked_report, marks_in
from tests.support.openai_server import MODEL
from tests.support.orthanc import free_port, run_orthanc
from tests.support.paths import RADIOGRAPH
from tests.support.pictures import hand
from tests.support.recorder import recording
from tests.support.server import run_server
from tests.support.web_peer import peer

pytestmark = pytest.mark.slow

WAIT_S = 120
TAKEN = b'{"resourceType": "Bundle", "type": "transaction-response"}'
"""FHIR: all of a transaction is stored."""
INVALID = {
    "PatientBirthDate": f"{MARK}00100030",
    "StudyTime": f"{MARK}00080030",
    "ViewPosition": f"{MARK}00185101",
    "Manufacturer": f"{MARK}00080070",
}
"""Values that break a rule, which pydicom's warnings and log lines quote."""


@pytest.fixture(scope="module")
def chest():
    """Pixels of a chest radiograph: uint8[rows, columns]."""
    with Image.open(RADIOGRAPH) as picture:
        return np.asarray(picture.convert("L"))


@pytest.fixture(scope="module")
def objects(chest):
    """Images that can be read, one of them with invalid values; and others that cannot."""
    good = [marked_image(number, chest) for number in (1, 2)]
    good.append(marked_image(3, chest, **INVALID))
    return SimpleNamespace(
        good=good,
        reports=[marked_report(number) for number in (1, 2)],
        hand=marked_image(4, hand(1), BodyPartExamined="HAND"),
        unclear=marked_image(5, hand(2)),
        cut=marked_image(6, chest)[:-5000],
        large=marked_image(7, np.tile(chest, (3, 3))),
    )


def until(holds, what):
    end = time.monotonic() + WAIT_S
    while not (found := holds()):
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.05)
    return found


def seen(process):
    """The arguments and environments of a process and its children, as bytes."""
    found = b""
    for each in [psutil.Process(process.pid), *psutil.Process(process.pid).children(True)]:
        for part in ("cmdline", "environ"):
            try:
                found += Path(f"/proc/{each.pid}/{part}").read_bytes()
            except OSError:
                continue
    return found


@contextmanager
def surroundings(tmp_path):
    """An Orthanc, a language model, a FHIR server and a collector of spans; all are recorded.

    `fhir.taking` is set once the FHIR server takes reports; before, it is overloaded.
    """
    taking = threading.Event()

    def answer(asked):
        if taking.is_set():
            asked.reply(200, TAKEN, "application/fhir+json")
        else:
            asked.reply(503, asked.sent, retry_after="1")

    with ExitStack() as stack:
        orthanc = stack.enter_context(run_orthanc(tmp_path / "orthanc"))
        fhir = stack.enter_context(peer(answer))
        spans = stack.enter_context(peer(lambda asked: asked.reply(200)))
        fhir.taking = taking
        yield SimpleNamespace(
            orthanc=orthanc,
            fhir=fhir,
            spans=spans,
            web=stack.enter_context(recording(orthanc.http_port)),
            model=stack.enter_context(peer(repeat_a_passage)),
        )


def repeat_a_passage(asked):
    """Answers as a language model that repeats the first passage."""
    if asked.path.endswith("/models"):
        listed = {"object": "list", "data": [MODEL]}
        asked.reply(200, json.dumps(listed).encode(), "application/json")
    elif asked.path.endswith("/tokenize"):
        asked.reply(404, b"{}", "application/json")
    else:
        passage = json.loads(json.loads(asked.sent)["messages"][1]["content"])["passages"][0]
        sentence = {"sentence": passage["text"], "evidence": [passage["number"]]}
        content = json.dumps({"findings": [sentence], "impression": [sentence]})
        choice = {"index": 0, "delta": {"content": content}, "finish_reason": "stop"}
        chunk = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "tiny"}
        event = f"data: {json.dumps(chunk | {'choices': [choice]})}\n\ndata: [DONE]\n\n"
        asked.reply(200, event.encode(), "text/event-stream")


def environment(tmp_path, around):
    (tmp_path / "tmp").mkdir(exist_ok=True)
    return {
        "TMPDIR": str(tmp_path / "tmp"),
        "ECLIP_LOG_LEVEL": "debug",
        "ECLIP_CORES": "1",
        "ECLIP_OTLP_URL": f"http://127.0.0.1:{around.spans.server_port}/v1/traces",
        "ECLIP_LLM_URL": f"http://127.0.0.1:{around.model.server_port}/v1",
    }


def test_a_listener_lets_identities_out_only_by_its_drafts(demo_copy, objects, tmp_path):
    data_dir = demo_copy
    listed = tmp_path / "files"
    listed.mkdir()
    for number, file in enumerate((*objects.good, objects.hand, objects.unclear)):
        (listed / f"{number}.dcm").write_bytes(file)
    dicom_port, said = free_port(), []
    with surroundings(tmp_path) as around:
        around.orthanc.put(*objects.good)
        variables = environment(tmp_path, around) | {
            "ECLIP_LISTEN_PORT": str(dicom_port),
            "ECLIP_QUIET_S": "1",
            "ECLIP_RESULTS_TO": f"dicomweb+http://127.0.0.1:{around.web.port}/dicom-web",
            "ECLIP_FHIR_URL": f"http://127.0.0.1:{around.fhir.server_port}/fhir",
            "ECLIP_MAX_IMAGE_BYTES": str(len(objects.large) - 1),
        }
        with run_server(data_dir, command="listen", **variables) as server:
            send(dicom_port, *listed.iterdir())
            said += [stow(server.url, objects.large), stow(server.url, objects.good[2][:900])]
            said += [stow(server.url + "/dicom-web/studies/1.2.3", objects.good[0])]
            said += problems(server.url, objects)
            until(
                lambda: len(endings(data_dir)) >= 5, "three drafts in the PACS, two studies without"
            )
            until(lambda: around.fhir.requests, "a report at the FHIR server")
            waiting = find_marks(data_dir)
            boxes = sorted(each.name for each in (data_dir / "pacs" / "outbox").iterdir())
            around.fhir.taking.set()
            until(lambda: endings(data_dir).count(("sent", "fhir")) == 3, "all reports sent")
            said += [seen(server.process).decode(errors="replace")]
            for path in ("/metrics", "/openapi.json", "/health/ready", "/health/live"):
                said.append(httpx.get(server.url + path).text)
            rest = find_marks(tmp_path / "tmp")
        drafts = around.orthanc.files("SR")
        bundles = [each.sent for each in around.fhir.requests]
        spans = b"".join(each.sent for each in around.spans.requests)
    assert boxes
    assert waiting == rest == find_marks(data_dir) == []
    assert [found for text in said if (found := marks_in(text))] == []
    assert marks_in(spans) == []
    assert b"http.route" in spans
    prompts = b"".join(each.sent for each in around.model.requests)
    assert marks_in(prompts) == []
    assert b"passages" in prompts
    assert len(drafts) == 3
    assert all(marks_in(file) for file in (*drafts, *bundles))
    assert set(endings(data_dir)) >= {("sent", "pacs"), ("rejected", None), ("left-out", None)}
    assert_asked_by_uid_only(around.web.sent)


def assert_asked_by_uid_only(sent):
    """Of the requests to an archive, the lines and headers name a study by its UID alone."""
    heads = re.findall(rb"^(?:GET|POST|HEAD) [^\r\n]+ HTTP.*?\r\n\r\n", bytes(sent), re.M | re.S)
    assert heads
    found = {mark for head in heads for mark in marks_in(head)}
    assert all(mark.startswith(ROOT) for mark in found), found


def send(port, *paths):
    """Sends files by `storescu`, whatever becomes of them."""
    program = shutil.which("storescu") or pytest.skip("needs storescu of dcmtk")
    command = [program, "-nh", "-aec", "ECLIP", "127.0.0.1", str(port), *map(str, sorted(paths))]
    subprocess.run(command, capture_output=True, timeout=WAIT_S, check=False)


def stow(url, *files):
    """Sends files by STOW-RS. Returns the answer without the UIDs that it repeats to the sender."""
    address = url if "/dicom-web/" in url else f"{url}/dicom-web/studies"
    head = b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\n"
    body = b"".join(head + file for file in files) + b"\r\n--b--\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    answer = httpx.post(address, content=body, headers={"Content-Type": kind}, timeout=WAIT_S)
    return str(answer.headers) + re.sub(
        r'\{"vr": ?"UI", ?"Value": ?\["[\d.]+"\]\}', "", answer.text
    )


def problems(url, objects):
    """What the API answers to files that it cannot use, and to addresses that name a patient."""
    yield from (
        httpx.post(
            f"{url}{path}",
            files={"images": (f"{MARK}.dcm", file, "application/dicom")},
            timeout=WAIT_S,
        ).text
        for path in ("/generate-report", "/classify")
        for file in (objects.unclear, objects.cut, objects.large, objects.good[2][:900])
    )
    yield httpx.get(f"{url}/dicom-web/studies/{MARK}").text
    yield httpx.post(f"{url}/dicom-web/studies/{MARK}", content=b"x").text


def endings(data_dir):
    days = sorted((data_dir / "pacs").glob("*.jsonl"))
    lines = [json.loads(line) for day in days for line in day.read_text().splitlines()]
    return [(line["outcome"], line["to"]) for line in lines]


@pytest.mark.parametrize("way", ["web", "node"])
def test_a_pull_lets_no_identity_into_the_library(objects, tmp_path, way):
    data_dir = tmp_path / "data"
    rejects = tmp_path / "rejects.jsonl"
    with surroundings(tmp_path) as around:
        files = (*objects.good, *objects.reports, objects.hand, objects.unclear)
        around.orthanc.put(*files)
        address = getattr(around.orthanc, way)
        if way == "web":
            address = f"dicomweb+http://127.0.0.1:{around.web.port}/dicom-web"
        asked = ["--since", "1900-01-01"]
        if way == "node":
            asked += [
                "--where",
                "PatientID=" + ",".join(f"{MARK}00100020P{n}" for n in range(1, 6)),
            ]
        command = [sys.executable, "-m", "service.cli", "index", address, *asked]
        variables = environment(tmp_path, around) | {"ECLIP_DATA_DIR": str(data_dir)}
        done = subprocess.run(
            [*command, "--rejects", str(rejects)],
            env=os.environ | variables,
            capture_output=True,
            timeout=WAIT_S,
            check=False,
        )
    assert b"4 studies of this archive read into the library, 1 rejected" in done.stdout
    assert marks_in(done.stdout) == marks_in(done.stderr) == []
    assert find_marks(data_dir) == find_marks(tmp_path / "tmp") == []
    assert rejects.stat().st_mode & 0o777 == 0o600
    if way == "web":
        assert_asked_by_uid_only(around.web.sent)
