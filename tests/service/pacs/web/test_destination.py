"""A result counts as sent once a PACS says or shows that it has it; else there is an error."""

import json
from contextlib import closing, contextmanager
from io import BytesIO

import numpy as np
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian
from structlog.testing import capture_logs

from service.errors import PeerRefused, PeerUnavailable
from service.pacs.address import WebAddress, parse_address
from service.pacs.web.destination import open_web_destination
from service.pacs.web.session import Patience
from service.pacs_settings import PacsSettings
from tests.support.archive import archived
from tests.support.disks import fill, small_disk
from tests.support.orthanc import run_orthanc
from tests.support.web_peer import DICOM_JSON, peer

QUICK = Patience(connect_s=2, silence_s=5, answer_s=10, tries=2, pause_s=0.01, total_s=20)
STUDY, INSTANCE = "1.2.826.0.1.3680043.8.498.7", "1.2.826.0.1.3680043.8.498.7.1.1"


def result(comment="first", side=32, **elements):
    named = {
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": f"{STUDY}.1",
        "SOPInstanceUID": INSTANCE,
        "PatientID": "P7",
        "ImageComments": comment,
    }
    pixels = np.zeros((side, side), np.uint16)
    return archived(ExplicitVRLittleEndian, pixels, **(named | elements))


@contextmanager
def sending_to(address, **settings):
    with closing(open_web_destination(address, PacsSettings(**settings), QUICK)) as destination:
        yield destination


@contextmanager
def answered(answer):
    with peer(answer) as server, sending_to(WebAddress(server.url)) as destination:
        yield server, destination


def stored(*uids, **more):
    return {"00081199": {"vr": "SQ", "Value": [reference(uid) | more for uid in uids]}}


def failed(reason):
    item = reference(INSTANCE) | {"00081197": {"vr": "US", "Value": [reason]}}
    return {"00081198": {"vr": "SQ", "Value": [item]}}


def reference(uid):
    return {"00081155": {"vr": "UI", "Value": [uid]}}


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    with run_orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.mark.slow
def test_an_orthanc_stores_a_result_byte_by_byte_and_another_client_reads_it(orthanc):
    with sending_to(parse_address(orthanc.web)) as destination:
        assert destination.has_study(STUDY) is False
        destination.send(result())
        assert destination.has_study(STUDY) is True
    assert orthanc.files() == [result()]
    read = DICOMwebClient(f"{orthanc.url}/dicom-web").retrieve_instance(
        STUDY, f"{STUDY}.1", INSTANCE
    )
    assert read == dcmread(BytesIO(result()))
    orthanc.delete_studies()


@pytest.mark.slow
def test_the_same_result_may_be_sent_again_and_a_changed_one_needs_its_own_uid(orthanc):
    with sending_to(parse_address(orthanc.web)) as destination:
        destination.send(result())
        destination.send(result())
        destination.send(result("second"))
        assert orthanc.files() == [result()]
        destination.send(result("second", SOPInstanceUID=f"{INSTANCE}.2"))
        assert len(orthanc.files()) == 2
    orthanc.delete_studies()


@pytest.mark.slow
def test_a_result_for_a_deleted_study_is_stored_and_brings_the_study_back(orthanc):
    with sending_to(parse_address(orthanc.web)) as destination:
        destination.send(result())
        orthanc.delete_studies()
        assert destination.has_study(STUDY) is False
        destination.send(result())
        assert destination.has_study(STUDY) is True
    orthanc.delete_studies()


@pytest.mark.slow
def test_what_an_orthanc_does_not_take_is_refused(orthanc):
    sending = sending_to(parse_address(orthanc.web))
    with sending as destination, pytest.raises(PeerRefused, match="does not store"):
        destination.send(result()[:400])


@pytest.mark.slow
def test_an_orthanc_with_a_full_disk_is_unavailable_and_takes_the_result_later(tmp_path):
    with (
        small_disk(tmp_path / "disk", 24) as disk,
        run_orthanc(tmp_path / "orthanc", StorageDirectory=str(disk)) as full,
        sending_to(parse_address(full.web)) as destination,
    ):
        ballast = fill(disk, left=100_000)
        with pytest.raises(PeerUnavailable, match="full"):
            destination.send(result(side=500))
        ballast.unlink()
        destination.send(result(side=500))
        assert full.files() == [result(side=500)]


@pytest.mark.slow
def test_a_password_is_sent_with_a_result(tmp_path):
    users = {"AuthenticationEnabled": True, "RegisteredUsers": {"eclip": "geheim"}}
    with run_orthanc(tmp_path, **users) as closed:
        address = parse_address(closed.web)
        with sending_to(address) as destination, pytest.raises(PeerRefused, match="ECLIP_PACS"):
            destination.send(result())
        with sending_to(address, pacs_user="eclip", pacs_password="geheim") as destination:
            destination.send(result())
            assert destination.has_study(STUDY) is True


def test_one_part_is_posted_to_the_studies():
    with answered(lambda asked: asked.items(stored(INSTANCE))) as (server, destination):
        destination.send(result())
    (asked,) = server.requests
    kind, _, boundary = asked.headers["content-type"].rpartition("; boundary=")
    assert (asked.command, asked.path) == ("POST", "/dicom-web/studies")
    assert kind == 'multipart/related; type="application/dicom"'
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    assert asked.sent == head + result() + f"\r\n--{boundary}--\r\n".encode()


@pytest.mark.parametrize("status", [200, 202, 400, 409])
@pytest.mark.parametrize(
    ("reason", "error", "says"),
    [
        (0xA700, PeerUnavailable, "A700.*disk"),
        (0xA7FF, PeerUnavailable, "A7FF"),
        (0x0110, PeerUnavailable, "0110.*processing failed"),
        (0x0122, PeerRefused, "0122.*SOP class"),
        (0xA900, PeerRefused, "A900"),
        (0xC000, PeerRefused, "C000"),
        (0x0124, PeerRefused, "0124"),
        ("x", PeerRefused, "no reason"),
    ],
)
def test_a_failure_is_read_whatever_the_status(status, reason, error, says):
    body = json.dumps(failed(reason)).encode()
    with answered(lambda asked: asked.reply(status, body)) as (server, destination):
        with pytest.raises(error, match=says):
            destination.send(result())
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", [400, 409])
@pytest.mark.parametrize("body", [b"", b"<xml/>", b"{", b"[]"])
def test_a_refusal_without_a_reason_is_one(status, body):
    sending = answered(lambda asked: asked.reply(status, body))
    with sending as (_, destination), pytest.raises(PeerRefused, match="no reason"):
        destination.send(result())


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [
        (507, PeerUnavailable, "disk is full"),
        (503, PeerUnavailable, "busy"),
        (500, PeerUnavailable, "failed"),
        (413, PeerRefused, "413"),
        (415, PeerRefused, "415"),
        (404, PeerRefused, "base address"),
        (403, PeerRefused, "ECLIP_PACS_TOKEN"),
    ],
)
def test_a_status_is_an_error_of_its_kind(status, error, says):
    sending = answered(lambda asked: asked.reply(status))
    with sending as (_, destination), pytest.raises(error, match=says):
        destination.send(result())


def test_a_warning_is_logged_and_the_result_is_stored():
    coerced = stored(INSTANCE, **{"00081196": {"vr": "US", "Value": [0xB000]}})
    sending = answered(lambda asked: asked.items(coerced))
    with sending as (_, destination), capture_logs() as logs:
        destination.send(result())
    assert [each["reason"] for each in logs] == ["B000"]


SILENT = {
    "empty": lambda asked: asked.reply(),
    "no-content": lambda asked: asked.begin(204),
    "neither": lambda asked: asked.items({"00081198": {"vr": "SQ"}, "00081199": {"vr": "SQ"}}),
    "another": lambda asked: asked.items(stored("1.2.3")),
    "xml": lambda asked: asked.reply(200, b"<NativeDicomModel/>", "application/dicom+xml"),
    "duplicate": lambda asked: asked.reply(409, json.dumps(failed(0x0111)).encode()),
}


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "unlisted"])
@pytest.mark.parametrize("answer", SILENT.values(), ids=SILENT)
def test_a_result_that_no_answer_names_is_looked_for(answer, listed):
    found = [{"00080018": {"vr": "UI", "Value": [INSTANCE]}}] if listed else []

    def reply(asked):
        answer(asked) if asked.command == "POST" else asked.items(*found)

    with answered(reply) as (server, destination):
        if listed:
            destination.send(result())
        else:
            with pytest.raises(PeerUnavailable, match="does not list it"):
                destination.send(result())
        assert server.requests[-1].path.startswith(f"/dicom-web/studies/{STUDY}/instances?")
        assert server.requests[-1].query["SOPInstanceUID"] == [INSTANCE]


def test_a_connection_that_breaks_is_tried_again_with_the_same_result():
    def answer(asked):
        asked.drop() if len(server.requests) == 1 else asked.items(stored(INSTANCE))

    with answered(answer) as (server, destination):
        destination.send(result())
        first, second = server.requests
        assert result() in first.sent
        assert result() in second.sent


def test_a_refusal_in_the_midst_of_a_large_result_is_read():
    def early(asked):
        asked.reply(413, connection="close")
        asked.drop()
        asked.rfile.read(int(asked.headers["content-length"]))  # else the answer may get lost

    with answered(early) as (server, destination):
        server.reads_bodies = False
        with pytest.raises(PeerRefused, match="413"):
            destination.send(result(side=3000))


@pytest.mark.parametrize(
    ("answer", "has"),
    [
        (lambda asked: asked.items({"0020000D": {"vr": "UI", "Value": [STUDY]}}), True),
        (lambda asked: asked.items({"0020000D": {"vr": "UI", "Value": ["1.2.3"]}}), False),
        (lambda asked: asked.begin(204), False),
        (lambda asked: asked.reply(404), None),
        (lambda asked: asked.reply(405), None),
        (lambda asked: asked.reply(501), None),
    ],
)
def test_a_pacs_is_asked_for_a_study(answer, has):
    with answered(answer) as (server, destination):
        assert destination.has_study(STUDY) is has
        assert server.requests[0].query["StudyInstanceUID"] == [STUDY]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda asked: asked.reply(401), PeerRefused),
        (lambda asked: asked.reply(503), PeerUnavailable),
        (lambda asked: asked.reply(200, b"<html/>", "text/html"), PeerRefused),
    ],
)
def test_a_pacs_that_cannot_say_whether_it_has_a_study_raises(answer, error):
    with answered(answer) as (_, destination), pytest.raises(error):
        destination.has_study(STUDY)


def test_no_error_names_the_result():
    names = (STUDY, INSTANCE, "P7", "first")
    for status in (400, 409, 413, 500):
        with answered(lambda asked, s=status: asked.reply(s, result(), DICOM_JSON)) as (_, to):
            with pytest.raises((PeerRefused, PeerUnavailable)) as caught:
                to.send(result())
            assert not any(name in str(caught.value) for name in names)
