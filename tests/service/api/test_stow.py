import hashlib
import json
import shutil
import subprocess
import threading
import time
from dataclasses import replace
from io import BytesIO
from itertools import pairwise

import httpx
import pytest
import uvicorn
from dicomweb_client.api import DICOMwebClient
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread, uid

from service.app import create_app
from service.errors import ImageUndecodable, StoreFull
from tests.support.archive import JPEG_XLS, SYNTAXES, archived
from tests.support.orthanc import run_orthanc
from tests.support.receiving import Kept, instance_uid
from tests.support.server import in_process
from tests.support.synthetic import radiograph

STUDY = "1.2.826.0.1.3680043.10.54321.1"
FILES = [
    archived(uid.ExplicitVRLittleEndian, radiograph(40, 30 + each, 12), StudyInstanceUID=STUDY)
    for each in range(3)
]
TYPE = 'multipart/related; type="application/dicom"; boundary={}'
FAILED, KEPT, REASON = "00081198", "00081199", "00081197"


@pytest.fixture
def kept():
    return Kept()


@pytest.fixture
def site(client, kept):
    """The app with an intake, in this process."""
    wired = replace(client.app.state.services, intake=kept)
    with in_process(wired.settings, wired) as made:
        yield made


@pytest.fixture
def url(client, kept):
    """The app with an intake, over a real socket."""
    wired = replace(client.app.state.services, intake=kept)
    app = create_app(wired.settings, wired)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/dicom-web"
    server.should_exit = True
    thread.join()


def body(*files, boundary="dicom-parts", part_type="application/dicom"):
    head = f"\r\n--{boundary}\r\nContent-Type: {part_type}\r\n\r\n".encode()
    return (b"".join(head + file for file in files) + f"\r\n--{boundary}--\r\n".encode())[2:]


def post(site, *files, path="", headers=None, content=None):
    sent = body(*files) if content is None else content
    given = {"content-type": TYPE.format("dicom-parts")} | (headers or {})
    return site.post(f"/dicom-web/studies{path}", content=sent, headers=given)


def uids(answer, sequence):
    items = answer.json().get(sequence, {}).get("Value", [])
    return [item["00081155"]["Value"][0] for item in items if item]


def test_all_objects_are_kept_and_named(site, kept):
    answer = post(site, *FILES)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    assert uids(answer, KEPT) == [instance_uid(file) for file in FILES]
    assert FAILED not in answer.json()
    assert "00081190" not in answer.json()
    assert kept.files == FILES


def test_plain_json_is_answered_to_whom_it_pleases(site):
    answer = post(site, FILES[0], headers={"accept": "application/json"})
    assert answer.headers["content-type"] == "application/json"


def test_another_form_of_the_answer_is_refused(site, kept, problem):
    answer = post(site, FILES[0], headers={"accept": "application/dicom+xml"})
    problem(answer, 406, "request/not-acceptable")
    assert not kept.files


def test_some_failures_are_named_with_their_reason(site, kept):
    answer = post(site, FILES[0], b"junk" * 100, FILES[1])
    assert answer.status_code == 202
    assert uids(answer, KEPT) == [instance_uid(FILES[0]), instance_uid(FILES[1])]
    (failed,) = answer.json()[FAILED]["Value"]
    assert failed == {REASON: {"vr": "US", "Value": [0xC000]}}
    assert kept.files == FILES[:2]


@pytest.mark.parametrize(
    ("refusal", "reason"), [(ImageUndecodable("none"), 0xC000), (RuntimeError("defect"), 0x0110)]
)
def test_if_nothing_is_kept_it_is_a_conflict(site, kept, refusal, reason):
    kept.refusal = refusal
    answer = post(site, *FILES)
    assert answer.status_code == 409
    assert uids(answer, FAILED) == [instance_uid(file) for file in FILES]
    reasons = {item[REASON]["Value"][0] for item in answer.json()[FAILED]["Value"]}
    assert reasons == {reason}
    assert KEPT not in answer.json()


@pytest.mark.parametrize("how", ["at once", "in the middle"])
def test_a_full_spool_is_said_with_the_time_to_wait(site, kept, problem, how):
    kept.full = how == "at once"
    kept.refusal = StoreFull("full")
    answer = post(site, *FILES)
    problem(answer, 503, "store/unavailable")
    assert int(answer.headers["retry-after"]) > 0


def test_objects_of_another_study_fail(site, kept):
    other = archived(uid.ExplicitVRLittleEndian, radiograph(40, 30, 12), StudyInstanceUID="1.2.9")
    answer = post(site, FILES[0], other, path=f"/{STUDY}")
    assert answer.status_code == 202
    assert uids(answer, FAILED) == [instance_uid(other)]
    assert kept.files == FILES[:1]


def test_an_object_over_the_limit_fails_alone(client, kept):
    limited = client.app.state.services.settings.model_copy(update={"max_image_bytes": 50_000})
    wired = replace(client.app.state.services, intake=kept, settings=limited)
    large = archived(uid.ExplicitVRLittleEndian, radiograph(200, 200, 12))
    with in_process(limited, wired) as site:
        answer = post(site, large, FILES[0])
        assert answer.status_code == 202
        assert answer.json()[FAILED]["Value"] == [{REASON: {"vr": "US", "Value": [0xA700]}}]
        assert post(site, large).status_code == 409
    assert kept.files == FILES[:1]


@pytest.mark.parametrize(
    "content",
    [b"", b"--dicom-parts--\r\n", b"junk", body(*FILES)[:-20], body(*FILES, boundary="other")],
)
def test_a_body_that_cannot_be_read_keeps_nothing(site, kept, problem, content):
    problem(post(site, content=content), 400, "request/malformed")
    assert not kept.files


def test_too_many_parts_are_refused(site, kept, problem):
    problem(post(site, *[b"x"] * 65), 400, "request/malformed")
    assert not kept.files


@pytest.mark.parametrize(
    "kind",
    ["application/dicom", "multipart/form-data; boundary=dicom-parts",
     'multipart/related; type="application/dicom+json"; boundary=dicom-parts'],
)  # fmt: skip
def test_another_media_type_is_refused(site, kept, problem, kind):
    problem(post(site, *FILES, headers={"content-type": kind}), 415, "image/unsupported")
    assert not kept.files


def test_a_body_without_a_boundary_is_malformed(site, problem):
    answer = post(
        site, *FILES, headers={"content-type": 'multipart/related; type="application/dicom"'}
    )
    problem(answer, 400, "request/malformed")


def test_without_receiving_the_setting_is_named(client, problem):
    members = problem(post(client, *FILES), 404, "pacs/receiving-off")
    assert "ECLIP_LISTEN_PORT" in members["detail"]


def test_it_needs_a_key_that_may_write(client, kept, problem):
    scopes = {"reader": ("read",), "writer": ("write",)}
    keys = {hashlib.sha256(key.encode()).hexdigest(): own for key, own in scopes.items()}
    keyed = client.app.state.services.settings.model_copy(update={"api_keys": keys})
    wired = replace(client.app.state.services, intake=kept, settings=keyed)
    with in_process(keyed, wired) as site:
        problem(post(site, *FILES), 401, "auth/unauthenticated")
        headers = {"authorization": "Bearer reader"}
        problem(post(site, *FILES, headers=headers), 403, "auth/scope-missing")
        assert not kept.files
        assert post(site, *FILES, headers={"authorization": "Bearer writer"}).status_code == 200


@given(cuts=st.lists(st.integers(1, 4000), max_size=8), content=st.binary(max_size=300))
def test_parts_are_read_whole_however_they_are_cut(site_once, cuts, content):
    site, kept = site_once
    kept.files.clear()
    whole = body(FILES[0], FILES[1] + content)
    edges = sorted({0, len(whole), *(each for each in cuts if each < len(whole))})
    chunks = [whole[a:b] for a, b in pairwise(edges)]
    answer = post(site, content=iter(chunks))
    assert answer.status_code == 200
    assert kept.files == [FILES[0], FILES[1] + content]


@pytest.fixture(scope="module")
def site_once(client):
    kept = Kept()
    wired = replace(client.app.state.services, intake=kept)
    with in_process(wired.settings, wired) as made:
        yield made, kept


@pytest.mark.slow
def test_dicomweb_client_stores_a_study(url, kept):
    datasets = [dcmread(BytesIO(file)) for file in FILES]
    answer = DICOMwebClient(url).store_instances(datasets)
    named = [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence]
    assert named == [instance_uid(file) for file in FILES]
    DICOMwebClient(url).store_instances(datasets, study_instance_uid=STUDY)
    assert [instance_uid(file) for file in kept.files] == 2 * named


@pytest.mark.slow
def test_curl_stores_an_object(url, kept, tmp_path):
    program = shutil.which("curl") or pytest.skip("needs curl")
    (tmp_path / "object.dcm").write_bytes(FILES[0])
    asked = [program, "-s", "-H", TYPE.format("cut"), "--data-binary", "@-", f"{url}/studies"]
    asked[3] = f"Content-Type: {asked[3]}"
    ran = subprocess.run(asked, input=body(FILES[0], boundary="cut"), capture_output=True)
    assert KEPT in json.loads(ran.stdout)
    form = [
        program, "-s", "-H", 'Content-Type: multipart/related; type="application/dicom"',
        "-F", f"file=@{tmp_path / 'object.dcm'};type=application/dicom", f"{url}/studies",
    ]  # fmt: skip
    assert KEPT in json.loads(subprocess.run(form, capture_output=True).stdout)
    assert kept.files == [FILES[0]] * 2


@pytest.mark.slow
def test_orthanc_stores_its_objects_as_they_are(url, kept, tmp_path):
    ids = {"PatientID": "7", "StudyInstanceUID": STUDY, "SeriesInstanceUID": f"{STUDY}.1"}
    image, syntaxes = radiograph(40, 36, 12), [each for each in SYNTAXES if each not in JPEG_XLS]
    files = [archived(each, image, **ids) for each in syntaxes]
    there = {"Enable": True, "Root": "/dicom-web/", "Servers": {"eclip": [f"{url}/"]}}
    with run_orthanc(tmp_path / "orthanc", DicomWeb=there) as orthanc:
        ids = [answer["ID"] for answer in orthanc.put(*files)]
        asked = {"Resources": ids, "Synchronous": True}
        address = f"{orthanc.url}/dicom-web/servers/eclip/stow"
        sent = httpx.post(address, json=asked, timeout=120)
        assert sent.is_success, (sent.text, orthanc.log[-2000:])
    stored = {instance_uid(file): dcmread(BytesIO(file)).PixelData for file in files}
    assert {instance_uid(f): dcmread(BytesIO(f)).PixelData for f in kept.files} == stored
