"""A study sent to `eclip listen` comes back to the PACS as one draft, whatever happens between."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.sop_class import ComputedRadiographyImageStorage

from service.pacs.desk.outcomes import OutcomeLine
from tests.support.archive import archived
from tests.support.orthanc import free_port, run_orthanc
from tests.support.paths import RADIOGRAPH, ROOT
from tests.support.server import run_server

pytestmark = pytest.mark.slow

WAIT_S = 60
"""Seconds after which what is awaited counts as missing."""
QUIET_S = "0.6"
PATIENT = {
    "PatientName": "Musterfrau^Zoelinde",
    "PatientID": "MRN-990017",
    "PatientBirthDate": "19550517",
    "PatientSex": "F",
    "AccessionNumber": "ACC990017",
    "StudyID": "ST990017",
    "ReferringPhysicianName": "Feldarzt^Uwe",
    "StudyDate": "20260311",
    "StudyTime": "101500",
}
MARKS = ("Musterfrau", "Zoelinde", "MRN-990017", "19550517", "ACC990017", "ST990017", "Feldarzt")


def chest(shift):
    """A frontal radiograph's pixels, a little moved, so that images differ."""
    pixels = np.asarray(Image.open(RADIOGRAPH).convert("L"))
    return np.roll(pixels, shift, axis=1).astype(np.uint16) * 16


class Study:
    """A study of several images, as files on the disk and in memory."""

    def __init__(self, folder, images=2, **elements):
        self.uid = generate_uid()
        self.instances = [generate_uid() for _ in range(images)]
        series = generate_uid()
        ids = {"StudyInstanceUID": self.uid, "SeriesInstanceUID": series, "ViewPosition": "PA"}
        self.files = [
            archived(
                ExplicitVRLittleEndian,
                chest(number),
                **PATIENT | ids | {"SOPInstanceUID": uid, "BodyPartExamined": "CHEST"} | elements,
            )
            for number, uid in enumerate(self.instances)
        ]
        self.paths = []
        for number, file in enumerate(self.files):
            path = folder / f"{self.uid}-{number}.dcm"
            path.write_bytes(file)
            self.paths.append(str(path))


def program(name):
    """The path of a program of dcmtk or of this environment."""
    found = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip(f"needs {name}")
    return found


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S)


def storescu(port, *paths):
    """Sends files as a modality would."""
    limits = ("-to", "30", "-ta", "30", "-aec", "ECLIP")
    return run(program("storescu"), *limits, "127.0.0.1", str(port), *paths)


def stow(url, *files):
    """Sends files by STOW-RS. Returns the HTTP status."""
    head = b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\n"
    body = b"".join(head + file for file in files) + b"\r\n--b--\r\n"
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    answer = httpx.post(
        f"{url}/dicom-web/studies", content=body, headers={"Content-Type": kind}, timeout=WAIT_S
    )
    return answer.status_code


def until(holds, what="what was awaited"):
    end = time.monotonic() + WAIT_S
    while not (found := holds()):
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.05)
    return found


def outcomes(data_dir):
    days = sorted((data_dir / "pacs").glob("*.jsonl"))
    return [OutcomeLine.model_validate_json(line) for day in days for line in day.open()]


def waiting(data_dir, box):
    return [each for each in (data_dir / "pacs" / box).glob("*-*") if each.is_file()]


@contextmanager
def listening(data_dir, results_to, **environment):
    """Runs `eclip listen` and gives the server and its DICOM port."""
    port = free_port()
    variables = {
        "ECLIP_LISTEN_PORT": str(port),
        "ECLIP_RESULTS_TO": results_to,
        "ECLIP_QUIET_S": QUIET_S,
        **environment,
    }
    with run_server(data_dir, command="listen", **variables) as server:
        yield server, port


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with run_orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture
def data_dir(demo_copy):
    return demo_copy


def drafts(orthanc, study):
    """The drafts about a study that Orthanc has."""
    found = [dcmread(BytesIO(file)) for file in orthanc.files("SR")]
    return [draft for draft in found if draft.StudyInstanceUID == study.uid]


def delete(orthanc, study):
    (found,) = httpx.post(f"{orthanc.url}/tools/lookup", content=study.uid).json()
    httpx.delete(f"{orthanc.url}/studies/{found['ID']}").raise_for_status()


def about(draft):
    """The SOP Instance UIDs of the images that a draft names as its evidence."""
    return {
        item.ReferencedSOPInstanceUID
        for evidence in draft.CurrentRequestedProcedureEvidenceSequence
        for series in evidence.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }


def test_a_study_comes_back_as_one_draft_that_shows_every_sentence(orthanc, data_dir, tmp_path):
    rules = tmp_path / "rules.csv"
    rules.write_text("modality,body_part,view,station,process\n,,,LEFT*,no\n")
    study, gone = Study(tmp_path, 2), Study(tmp_path, 1)
    left = Study(tmp_path, 1, StationName="LEFT 1")
    orthanc.put(*study.files, *left.files, *gone.files)
    delete(orthanc, gone)
    limits = {"ECLIP_RULES": str(rules), "ECLIP_RESULTS_WAIT_S": "4"}
    with listening(data_dir, orthanc.web, **limits) as (server, port):
        sent = storescu(port, *study.paths)
        assert sent.returncode == 0, sent.stderr
        until(lambda: drafts(orthanc, study), "a draft")
        for other in (left, gone):
            assert storescu(port, *other.paths).returncode == 0
        until(lambda: len(outcomes(data_dir)) == 3, "three outcomes")
        assert storescu(port, study.paths[0]).returncode == 0
        until(lambda: len(outcomes(data_dir)) == 4, "the outcome of a part that was sent again")
        assert stow(server.url, *study.files) == 200
        until(lambda: len(outcomes(data_dir)) == 5, "the outcome of what was sent again")
        metrics = httpx.get(f"{server.url}/metrics").text
        health = httpx.get(f"{server.url}/health/ready").json()
    (draft,) = drafts(orthanc, study)
    assert about(draft) == set(study.instances)
    assert draft.VerificationFlag == "UNVERIFIED"
    assert (draft.PatientID, draft.AccessionNumber) == ("MRN-990017", "ACC990017")
    sentences = recorded_sentences(data_dir)
    assert sentences
    assert_shown(draft, sentences, tmp_path)
    first, *middle, part, again = ((line.outcome, line.rule) for line in outcomes(data_dir))
    assert first == again == ("sent", None)
    assert sorted(middle) == [("left-out", "row 1"), ("study-gone", None)]
    assert part == ("repeated", None)
    assert 'eclip_pacs_outcomes_total{outcome="sent"} 2.0' in metrics
    assert health["parts"]["pacs"] == "ready"
    assert not waiting(data_dir, "inbox")
    assert not waiting(data_dir, "outbox")
    assert_no_identifier_in(data_dir, study, left, gone)


def recorded_sentences(data_dir):
    (day,) = (data_dir / "audit").glob("*.jsonl")
    record = json.loads(day.read_text().splitlines()[0])
    return [each["text"] for part in ("findings", "impression") for each in record[part]]


def assert_shown(draft, sentences, folder):
    """`dciodvfy` finds no error, and `dsrdump` shows every sentence."""
    path = folder / "draft.dcm"
    draft.save_as(path)
    checked = run(program("dciodvfy"), str(path))
    errors = [line for line in checked.stderr.splitlines() if line.startswith("Error")]
    assert not errors
    dumped = run(program("dsrdump"), "+U8", "+Pl", str(path))
    shown = " ".join(dumped.stdout.split())
    assert dumped.returncode == 0, dumped.stderr
    for sentence in sentences:
        assert " ".join(sentence.split()) in shown


def assert_no_identifier_in(data_dir, *studies):
    """No plain identifier lies in any file, or in a name of one, of the data directory."""
    uids = [uid for study in studies for uid in (study.uid, *study.instances)]
    marks = [mark.encode() for mark in (*MARKS, *uids)]
    for path in data_dir.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        found = [mark for mark in marks if mark in content or mark in str(path).encode()]
        assert not found, path.name


class Silence:
    """A TCP server that accepts and never answers."""

    def __init__(self):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._taken = []
        self.asked = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def _accept(self):
        while True:
            try:
                self._taken.append(self._socket.accept()[0])
            except OSError:
                return
            self.asked.set()

    def close(self):
        self._socket.close()
        for each in self._taken:
            each.close()


@pytest.fixture
def silence():
    server = Silence()
    yield server
    server.close()


def kill(server):
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()


def test_a_kill_at_any_point_loses_nothing_and_makes_no_second_draft(
    orthanc, data_dir, tmp_path, silence, closed_port
):
    """Each run recovers what the one before left, and is killed at a later point.

    The patience of a run's peers differs, so studies may wait through several runs.
    """
    studies = [Study(tmp_path, 2) for _ in range(5)]
    acknowledged, grouped, reported, kept, sending = studies
    for study in studies:
        orthanc.put(*study.files)
    late = {"ECLIP_QUIET_S": "30"}
    with listening(data_dir, orthanc.web, **late) as (server, port):
        assert storescu(port, *acknowledged.paths, grouped.paths[0]).returncode == 0
        kill(server)
    assert len(waiting(data_dir, "inbox")) == 3
    with listening(data_dir, orthanc.web, ECLIP_LLM_URL=silence.url) as (server, port):
        assert storescu(port, grouped.paths[1], *reported.paths).returncode == 0
        assert silence.asked.wait(WAIT_S)
        kill(server)
    assert len(waiting(data_dir, "inbox")) == 6
    away = f"dicomweb+http://127.0.0.1:{closed_port}/dicom-web"
    with listening(data_dir, away) as (server, port):
        assert storescu(port, *kept.paths).returncode == 0
        until(lambda: len(waiting(data_dir, "outbox")) == 4, "four results")
        until(lambda: not waiting(data_dir, "inbox"), "an empty inbox")
        kill(server)
    silence.asked.clear()
    with listening(data_dir, f"dicomweb+{silence.url}/dicom-web") as (server, port):
        assert storescu(port, *sending.paths).returncode == 0
        assert silence.asked.wait(WAIT_S)
        until(lambda: len(waiting(data_dir, "outbox")) == 5, "five results")
        kill(server)
    with listening(data_dir, orthanc.web) as (server, port):
        until(lambda: len(outcomes(data_dir)) == 5, "five outcomes")
        assert storescu(port, *kept.paths).returncode == 0
        until(lambda: len(outcomes(data_dir)) == 6, "the outcome of what was sent again")
    assert [line.outcome for line in outcomes(data_dir)] == ["sent"] * 6
    for study in studies:
        (draft,) = drafts(orthanc, study)
        assert about(draft) == set(study.instances)
    assert not waiting(data_dir, "inbox")
    assert not waiting(data_dir, "outbox")


class Misbehaving(BaseHTTPRequestHandler):
    """A PACS and FHIR server that lists every study, and answers what the test wants.

    stored: status and body of the answer to STOW-RS; None hangs. fhir: that to a transaction.
    """

    def do_GET(self):
        self.answer(200, b'[{"0020000D": {"vr": "UI", "Value": ["%s"]}}]' % self.study())

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/fhir":
            self.answer(*self.server.fhir)
        elif self.server.stored is not None:
            self.answer(*self.server.stored)
        else:
            self.server.hanging.set()
            self.server.ending.wait()

    def study(self):
        return self.path.partition("StudyInstanceUID=")[2].partition("&")[0].encode()

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


FULL = b'{"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [42752]}}]}}'
"""STOW-RS: failure reason A700, out of resources."""
TAKEN = b'{"resourceType": "Bundle", "type": "transaction-response"}'
"""FHIR: all of a transaction is stored."""


@pytest.fixture
def peer():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Misbehaving)
    server.hanging, server.ending = threading.Event(), threading.Event()
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.ending.set()
    server.shutdown()
    server.server_close()


def test_a_peer_that_refuses_is_full_or_hangs_has_its_outcome_and_holds_up_nobody(
    data_dir, tmp_path, peer
):
    """While it hangs, 200 associations are answered. A rule leaves their images out."""
    rules = tmp_path / "rules.csv"
    rules.write_text("modality,body_part,view,station,process\n,,,LEFT*,no\n")
    url = f"http://127.0.0.1:{peer.server_port}"
    limits = {
        "ECLIP_RESULTS_WAIT_S": "1",
        "ECLIP_FHIR_URL": f"{url}/fhir",
        "ECLIP_RULES": str(rules),
        "ECLIP_LISTEN_AT_ONCE": "4",
        "ECLIP_QUIET_S": "2",
    }
    left = Study(tmp_path, 200, StationName="LEFT 1")
    with listening(data_dir, f"dicomweb+{url}/dicom-web", **limits) as (server, port):
        peer.stored, peer.fhir = (403, b""), (200, TAKEN)
        assert storescu(port, *Study(tmp_path, 1).paths).returncode == 0
        until(lambda: len(outcomes(data_dir)) == 2, "two outcomes")
        peer.stored, peer.fhir = (409, FULL), (422, b"")
        assert storescu(port, *Study(tmp_path, 1).paths).returncode == 0
        until(lambda: len(outcomes(data_dir)) == 4, "four outcomes")
        peer.stored, peer.fhir = None, (200, TAKEN)
        assert storescu(port, *Study(tmp_path, 1).paths).returncode == 0
        until(lambda: len(outcomes(data_dir)) == 5, "the outcome of the other peer")
        assert peer.hanging.wait(WAIT_S)
        refused = send_all(port, left.files, clients=12)
        until(lambda: len(outcomes(data_dir)) == 6, "the outcome of what was sent meanwhile")
        metrics = httpx.get(f"{server.url}/metrics").text
        peer.ending.set()
    ends = [(line.to, line.outcome) for line in outcomes(data_dir)[:6]]
    assert sorted(ends[:2]) == [("fhir", "sent"), ("pacs", "refused")]
    assert sorted(ends[2:4]) == [("fhir", "refused"), ("pacs", "unavailable")]
    assert ends[4:] == [("fhir", "sent"), (None, "left-out")]
    assert outcomes(data_dir)[5].images == 200
    assert 'eclip_associations_total{outcome="accepted"} 203.0' in metrics
    counted = f'eclip_associations_total{{outcome="refused-busy"}} {float(refused)}'
    assert counted in metrics or not refused


def test_orthanc_routes_what_it_receives_and_gets_the_draft_back(data_dir, tmp_path):
    """By the configuration of the compose profile, on other ports. Results go by DIMSE."""
    port, deployed = free_port(), ROOT / "deploy" / "orthanc"
    route = json.loads((deployed / "orthanc.json").read_text())
    for setting in ("StorageDirectory", "IndexDirectory", "Plugins", "HttpPort", "DicomPort"):
        del route[setting]
    route["LuaScripts"] = [str(deployed / "route.lua")]
    route["DicomModalities"]["eclip"][1:] = ["127.0.0.1", port]
    study = Study(tmp_path, 2)
    limits = {"ECLIP_LISTEN_PORT": str(port), "ECLIP_LISTEN_CALLERS": '["ORTHANC"]'}
    with (
        run_orthanc(tmp_path / "orthanc", **route) as orthanc,
        listening(data_dir, orthanc.node, **limits),
    ):
        sent = run(program("storescu"), "127.0.0.1", str(orthanc.dicom_port), *study.paths)
        assert sent.returncode == 0, sent.stderr
        (line,) = until(lambda: outcomes(data_dir), "an outcome")
        (draft,) = drafts(orthanc, study)
    assert (line.outcome, about(draft)) == ("sent", set(study.instances))


def send_all(port, files, clients):
    """Sends each file in an association of its own, again after a refusal. Counts refusals.

    A sender can find the connection closed before it has read the refusal.
    """
    remaining, lock, refused, failed = list(files), threading.Lock(), [], []

    def client():
        node = AE("MODALITY")
        node.add_requested_context(ComputedRadiographyImageStorage, ExplicitVRLittleEndian)
        node.acse_timeout = node.dimse_timeout = node.network_timeout = 30
        while True:
            with lock:
                file = remaining.pop() if remaining else None
            if file is None:
                return
            association = node.associate("127.0.0.1", port, ae_title="ECLIP")
            if association.is_established:
                status = association.send_c_store(dcmread(BytesIO(file)))
                association.release()
                if status.Status != 0:
                    failed.append(status)
                continue
            with lock:
                refused.append(1)
                remaining.append(file)
            time.sleep(0.05)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(WAIT_S)
        assert not each.is_alive(), "an association was stalled"
    assert not failed
    return len(refused)
