"""Nodes that hang, flood, refuse or drop a query end in typed errors, in bounded time."""

import logging
import struct
import threading
import time
import warnings
from datetime import date

import pytest
from pydicom.dataset import Dataset
from pynetdicom import Association, build_context, evt
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from service.errors import PeerRefused, PeerUnavailable, SettingInvalid
from service.pacs.archive import Wanted
from service.pacs.node.archive import open_node_archive
from service.pacs.node.associations import Patience
from service.pacs_settings import PacsSettings
from tests.support.dicom_nodes import nothing_left, run_node, run_socket

pytestmark = pytest.mark.slow
HASTY = Patience(
    connect_s=1, answer_s=1, release_s=1, operation_s=1, listing_s=2, waits_s=(0.01, 0.01)
)
FIND = [build_context(StudyRootQueryRetrieveInformationModelFind)]


@pytest.fixture(autouse=True)
def _nothing_is_left():
    with nothing_left():
        yield


@pytest.fixture
def of():
    """Opens archives, and closes them."""
    opened = []

    def open_(node, **settings):
        opened.append(open_node_archive(node, PacsSettings(**settings), HASTY))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


def studies(archive, since=None, **where):
    return [each.study_uid for each in archive.studies(Wanted(where, since))]


def answer(study="1.2", on="20260110", **elements):
    found = Dataset()
    found.QueryRetrieveLevel = "STUDY"
    found.StudyInstanceUID, found.StudyDate = study, on
    for name, value in elements.items():
        setattr(found, name, value)
    return found


def finding(handle):
    return run_node(FIND, [(evt.EVT_C_FIND, handle)])


def silent(_):
    """Accepts a connection and says nothing."""


def closing(connection):
    connection.close()


def test_a_node_that_says_nothing_is_unavailable(of):
    with run_socket(silent) as node, pytest.raises(PeerUnavailable, match="does not answer"):
        studies(of(node))


def test_a_node_that_hangs_up_is_unavailable(of):
    with run_socket(closing) as node, pytest.raises(PeerUnavailable, match="TLS"):
        studies(of(node))


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        struct.pack(">BBL", 2, 0, 2**32 - 1) + bytes(2**20),
        struct.pack(">BBL", 2, 0, 100) + b"half",
        struct.pack(">BBL", 2, 0, 4) + bytes(4),
        struct.pack(">BBL", 9, 0, 4) + bytes(4),
    ],
    ids=["http", "endless unit", "half a unit", "empty unit", "unknown unit"],
)
def test_a_node_that_speaks_no_dicom_is_an_error(of, said):
    with (
        run_socket(lambda connection: connection.sendall(said)) as node,
        pytest.raises((PeerUnavailable, PeerRefused)),
    ):
        studies(of(node))


def test_a_node_that_sends_a_byte_now_and_then_is_unavailable(of):
    stop = threading.Event()

    def trickle(connection):
        def send():
            try:
                connection.sendall(struct.pack(">BBL", 2, 0, 10_000))
                while not stop.wait(0.1):
                    connection.sendall(b"\0")
            except OSError:
                return

        threads.append(threading.Thread(target=send))
        threads[-1].start()

    threads = []
    with run_socket(trickle) as node, pytest.raises(PeerUnavailable):
        studies(of(node))
    stop.set()
    for each in threads:
        each.join()


def test_a_node_that_hangs_in_a_query_is_unavailable(of):
    go_on = threading.Event()

    def hang(_):
        yield 0xFF00, answer()
        go_on.wait(30)
        yield 0x0000, None

    with finding(hang) as node:
        with pytest.raises(PeerUnavailable, match="took too long"):
            studies(of(node))
        go_on.set()


def test_a_node_that_drops_a_query_once_is_asked_again(of):
    asked = []

    def drop_once(event):
        asked.append(event)
        if len(asked) == 1:
            event.assoc.abort()
            return
        yield 0xFF00, answer()

    with finding(drop_once) as node:
        assert studies(of(node)) == ["1.2"]


@pytest.mark.parametrize("status", [0xA900, 0xC001, 0x0122])
def test_a_query_that_is_refused_is_an_error_with_its_status(of, status):
    def refuse(_):
        yield status, None

    with finding(refuse) as node, pytest.raises(PeerRefused, match=f"{status:04X}"):
        studies(of(node))


def test_an_answer_that_cannot_be_read_ends_the_query_with_an_error(of, monkeypatch):
    """pynetdicom gives None for it, and the study would be missing from the list."""

    def handle(_):
        yield 0xFF00, answer("1.2")
        yield 0xFF00, answer("1.3")

    def decode(*_):
        raise ValueError("no dataset")

    monkeypatch.setattr("pynetdicom.association.decode", decode)
    with finding(handle) as node, pytest.raises(PeerRefused, match="cannot be read"):
        studies(of(node))


def test_no_answer_is_lost_while_pynetdicoms_thread_wakes(of, monkeypatch):
    """It is slow to go on. By then the next query is answered, and its caller not yet waiting."""

    def is_paused(association):
        return association.__dict__.get("paused", False)

    def pause(association, paused):
        if not paused and association.is_requestor:
            time.sleep(0.2)
        association.__dict__["paused"] = paused

    def take(provider, block=False):
        if block:
            time.sleep(0.4)
        return taken(provider, block)

    def handle(event):
        level = event.identifier.QueryRetrieveLevel
        found = answer()
        if level != "STUDY":
            found.SeriesInstanceUID, found.Modality = "1.2.3", "CR"
        if level == "IMAGE":
            found.SOPInstanceUID = "1.2.3.4"
        yield 0xFF00, found

    taken = DIMSEServiceProvider.get_msg
    monkeypatch.setattr(DIMSEServiceProvider, "get_msg", take)
    monkeypatch.setattr(Association, "_is_paused", property(is_paused, pause), raising=False)
    with finding(handle) as node:
        archive = of(node)
        (study,) = archive.studies(Wanted({}, None))
        assert len(archive.instances(study)) == 1


HELD = {f"1.{each}": f"2026{1 + each // 28:02}{1 + each % 28:02}" for each in range(300)}


def most(limit, refusal):
    """Answers a query by dates, but not with more studies than the limit."""

    def handle(event):
        earliest, _, latest = str(event.identifier.get("StudyDate") or "-").partition("-")
        found = {each: on for each, on in HELD.items() if earliest <= on <= (latest or "99999999")}
        for each, on in list(found.items())[:limit]:
            yield 0xFF00, answer(each, on)
        if len(found) > limit:
            yield refusal, None

    return handle


@pytest.mark.parametrize("refusal", [0xA700, 0xFE00])
@pytest.mark.parametrize("since", [None, date(2026, 1, 1)])
def test_a_node_that_lists_few_studies_is_asked_for_fewer_days(of, since, refusal):
    with finding(most(60, refusal)) as node:
        assert sorted(studies(of(node), since)) == sorted(HELD)


def test_a_day_of_too_many_studies_is_an_error(of):
    with finding(most(0, 0xA700)) as node, pytest.raises(PeerRefused, match="so many matches"):
        studies(of(node))


def test_a_node_that_ignores_what_it_is_asked_is_filtered_here(of):
    def everything(event):
        level = event.identifier.QueryRetrieveLevel
        if level == "STUDY":
            yield 0xFF00, answer("1.2", ModalitiesInStudy=["CR", "SR"])
            yield 0xFF00, answer("1.3", ModalitiesInStudy="MR")
            yield 0xFF00, answer("1.4", "20250101", ModalitiesInStudy="CR")
            yield 0xFF00, answer("1.5", "", ModalitiesInStudy="CR")
            yield 0xFF00, answer("no uid", ModalitiesInStudy="CR")
            yield 0xFF00, answer("1.6")
            yield 0xFF00, answer("1.7")
        else:
            yield 0xFF00, answer("1.6", SeriesInstanceUID="1.6.1", Modality="CR")
            yield 0xFF00, answer("1.7", SeriesInstanceUID="1.7.1", Modality="MR")

    with finding(everything) as node, warnings.catch_warnings(action="ignore"):
        assert studies(of(node), date(2026, 1, 1), ModalitiesInStudy=["CR"]) == ["1.2", "1.6"]


def test_a_file_of_authorities_that_cannot_be_read_is_an_error(of, tmp_path):
    with run_socket(silent) as node, pytest.raises(SettingInvalid, match="ECLIP_PACS_CA"):
        of(node, pacs_ca=tmp_path / "none.pem")


def test_no_value_of_a_dataset_is_logged(of, caplog, capfd):
    """Neither a name nor an invalid value, which pydicom quotes."""

    def handle(_):
        yield 0xFF00, answer("1.2", PatientName="Marked^Name", ModalitiesInStudy="CR")
        yield 0xFF00, answer("marked uid", "MARKED", PatientName="Marked^Name")
        yield 0xC001, None

    with (
        caplog.at_level(logging.DEBUG),
        finding(handle) as node,
        warnings.catch_warnings(action="ignore"),
        pytest.raises(PeerRefused),
    ):
        studies(of(node), PatientName=["Marked*"])
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")
