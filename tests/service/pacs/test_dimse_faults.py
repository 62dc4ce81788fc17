"""Nodes that hang, flood, drop and lie end in typed errors, and leave no thread or socket."""

import contextlib
import logging
import socket
import struct
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from io import BytesIO

import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset
from pynetdicom import build_context, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from service.errors import PeerRefused, PeerUnavailable, SettingInvalid
from service.pacs import connection_guard, retrieval
from service.pacs.archive import Instance, ListedStudy, Wanted
from service.pacs.associations import Patience
from service.pacs.dimse import open_node_archive
from service.pacs.node_destination import open_node_destination
from service.pacs_settings import PacsSettings
from tests.support.archive import archived
from tests.support.dicom_nodes import nothing_left, run_node, run_socket
from tests.support.orthanc import free_port
from tests.support.synthetic import radiograph

pytestmark = pytest.mark.slow
HASTY = Patience(
    connect_s=1, answer_s=1, release_s=1, operation_s=1, listing_s=2, waits_s=(0.01, 0.01)
)
CR = uid.ComputedRadiographyImageStorage
FIND = [build_context(StudyRootQueryRetrieveInformationModelFind)]
GET = [
    build_context(StudyRootQueryRetrieveInformationModelGet),
    build_context(CR, uid.ExplicitVRLittleEndian),
]
GET[1].scu_role, GET[1].scp_role = True, True
MOVE = [build_context(StudyRootQueryRetrieveInformationModelMove)]
STUDY = ListedStudy("1.2", date(2026, 1, 10))
FILES = {
    f"1.2.1.{i}": archived(
        uid.ExplicitVRLittleEndian,
        radiograph(90, 80, 12),
        StudyInstanceUID="1.2",
        SeriesInstanceUID="1.2.1",
        SOPInstanceUID=f"1.2.1.{i}",
    )
    for i in range(3)
}
INSTANCES = [Instance("1.2.1", each, CR, "CR") for each in FILES]


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


def getting(handle):
    return run_node(GET, [(evt.EVT_C_GET, handle)])


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


def sends(files, *, status=0x0000):
    """Answers a C-GET with these files, and this status at its end."""

    def handle(_):
        yield len(files)
        for file in files:
            yield 0xFF00, dcmread(BytesIO(file))
        if status:
            yield status, None

    return handle


def asked_for(event):
    yield 1
    yield 0xFF00, dcmread(BytesIO(FILES[event.identifier.SOPInstanceUID]))


def results(archive):
    return {each.instance_uid: got for each, got in archive.fetch(STUDY, INSTANCES)}


def test_objects_that_come_are_files(of):
    with getting(asked_for) as node:
        got = results(of(node))
    assert {each: dcmread(BytesIO(file)) for each, file in got.items()} == {
        each: dcmread(BytesIO(file)) for each, file in FILES.items()
    }


def test_another_object_than_the_asked_one_is_not_taken(of):
    with getting(sends([FILES["1.2.1.0"]])) as node:
        got = results(of(node))
    assert isinstance(got.pop("1.2.1.0"), bytes)
    assert all(isinstance(each, PeerRefused) for each in got.values())


def test_a_node_that_drops_one_object_loses_only_that(of):
    def drop(event):
        if event.identifier.SOPInstanceUID == "1.2.1.1":
            event.assoc.abort()
            return
        yield from asked_for(event)

    with getting(drop) as node:
        got = results(of(node))
    assert isinstance(got.pop("1.2.1.1"), PeerUnavailable)
    assert all(isinstance(each, bytes) for each in got.values())


def test_a_node_that_drops_an_object_once_gives_it_at_last(of):
    dropped = []

    def drop_once(event):
        if not dropped:
            dropped.append(event)
            event.assoc.abort()
            return
        yield from asked_for(event)

    with getting(drop_once) as node:
        assert all(isinstance(each, bytes) for each in results(of(node)).values())


def test_an_object_that_is_too_large_is_refused_and_the_others_follow(of, monkeypatch):
    monkeypatch.setattr(connection_guard, "MOST_BYTES", 2**20)
    large = archived(
        uid.ExplicitVRLittleEndian,
        radiograph(900, 900, 12),
        StudyInstanceUID="1.2",
        SeriesInstanceUID="1.2.1",
        SOPInstanceUID="1.2.1.1",
    )

    def handle(event):
        yield 1
        wanted = event.identifier.SOPInstanceUID
        yield 0xFF00, dcmread(BytesIO(large if wanted == "1.2.1.1" else FILES[wanted]))

    with getting(handle) as node:
        got = results(of(node))
    assert isinstance(got.pop("1.2.1.1"), PeerRefused)
    assert all(isinstance(each, bytes) for each in got.values())


@pytest.mark.parametrize("status", [0xA701, 0xA702, 0xA900, 0xB000, 0xC000, 0x0124])
def test_an_object_that_does_not_come_is_an_error_with_the_status(of, status):
    def refuse(_):
        yield 1
        yield status, None

    expected = PeerUnavailable if status == 0xA701 else PeerRefused
    with getting(refuse) as node:
        for error in results(of(node)).values():
            assert isinstance(error, expected)
            assert f"{status:04X}" in error.detail


def test_a_node_that_never_ends_an_object_is_left(of):
    go_on = threading.Event()

    def hang(_):
        yield 1
        go_on.wait(30)

    with getting(hang) as node:
        assert all(isinstance(each, PeerUnavailable) for each in results(of(node)).values())
        go_on.set()


def test_closing_an_archive_ends_a_fetch_in_another_thread(of):
    begun, go_on, errors = threading.Event(), threading.Event(), []

    def hang(_):
        yield 1
        begun.set()
        go_on.wait(30)

    def fetch():
        try:
            results(archive)
        except PeerUnavailable as error:
            errors.append(error)

    with getting(hang) as node:
        archive = of(node)
        fetching = threading.Thread(target=fetch)
        fetching.start()
        begun.wait(10)
        archive.close()
        fetching.join(10)
        go_on.set()
    assert len(errors) == 1


def test_a_connection_that_breaks_within_an_object_is_tried_again(of):
    lost = []
    with getting(asked_for) as node, run_socket(between(node, breaks=2, lost=lost)) as broken:
        got = results(of(broken))
    assert len(lost) == 2
    assert all(isinstance(each, bytes) for each in got.values())


def test_a_connection_that_always_breaks_within_an_object_is_an_error(of):
    with getting(asked_for) as node, run_socket(between(node, breaks=99, lost=[])) as broken:
        got = results(of(broken))
    assert all(isinstance(each, PeerUnavailable) for each in got.values())


def between(node, *, breaks, lost):
    """Returns what passes data between a caller and a node, and breaks some connections.

    They break after 9,000 bytes of the node's, in the middle of an object.
    """

    def pump(of, to, most):
        left = most
        with of, to, contextlib.suppress(OSError):
            while left and (data := of.recv(min(4096, left))):
                to.sendall(data)
                left -= len(data)
            for each in (of, to):
                each.shutdown(socket.SHUT_RDWR)

    def serve(connection):
        behind = socket.create_connection((node.host, node.port))
        limit = 2**30
        if len(lost) < breaks:
            lost.append(connection)
            limit = 9000
        for of, to, most in ((connection, behind, 2**30), (behind, connection, limit)):
            threading.Thread(target=pump, args=(of, to, most)).start()

    return serve


def test_a_node_that_reads_nothing_does_not_hold_a_sender():
    large = archived(uid.ExplicitVRLittleEndian, radiograph(3000, 3000, 12))
    with run_node([build_context(CR)], []) as node, run_socket(stuck_after(node)) as stuck:
        destination = open_node_destination(stuck, PacsSettings(), HASTY)
        with pytest.raises(PeerUnavailable):
            destination.send(large)
        destination.close()


def stuck_after(node):
    """Returns what passes a caller's request to a node and its answer back, and then stops."""

    def serve(connection):
        with socket.create_connection((node.host, node.port)) as behind:
            for of, to in ((connection, behind), (behind, connection)):
                head = of.recv(6, socket.MSG_WAITALL)
                to.sendall(head + of.recv(struct.unpack(">L", head[2:])[0], socket.MSG_WAITALL))

    return serve


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
        getting(asked_for) as other,
        warnings.catch_warnings(action="ignore"),
    ):
        with pytest.raises(PeerRefused):
            studies(of(node), PatientName=["Marked*"])
        results(of(other))
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")


def test_studies_are_fetched_at_the_same_time(of):
    with getting(asked_for) as node, ThreadPoolExecutor(8) as pool:
        archive = of(node)
        for got in pool.map(lambda _: results(archive), range(16)):
            assert all(isinstance(each, bytes) for each in got.values())


def moving(handle):
    return run_node(MOVE, [(evt.EVT_C_MOVE, handle)])


def sends_to_port(port, *files):
    """Answers a C-MOVE with these files, or with the asked one."""

    def handle(event):
        yield "127.0.0.1", port, {"contexts": [build_context(CR, uid.ExplicitVRLittleEndian)]}
        yield len(files) or 1
        for file in files or [FILES[event.identifier.SOPInstanceUID]]:
            yield 0xFF00, dcmread(BytesIO(file))

    return handle


def test_objects_come_by_c_move(of):
    port = free_port()
    with moving(sends_to_port(port)) as node:
        got = results(of(node, listen_port=port))
    assert all(isinstance(each, bytes) for each in got.values())


def test_an_object_that_nobody_asked_for_is_not_taken(of):
    port = free_port()
    with moving(sends_to_port(port, FILES["1.2.1.0"])) as node:
        got = results(of(node, listen_port=port))
    assert isinstance(got.pop("1.2.1.0"), bytes)
    assert all(isinstance(each, PeerRefused) for each in got.values())


def test_a_node_that_says_it_sent_what_did_not_come_is_refused(of, monkeypatch):
    monkeypatch.setattr(retrieval, "ARRIVAL_S", 0.1)

    takes_all = [(evt.EVT_C_STORE, lambda _: 0x0000)]
    with (
        run_node([build_context(CR)], takes_all) as elsewhere,
        moving(sends_to_port(elsewhere.port)) as node,
    ):
        got = results(of(node, listen_port=free_port()))
    assert all("none came" in each.detail for each in got.values())


def test_an_object_by_c_move_that_is_too_large_is_not_taken(of, monkeypatch):
    monkeypatch.setattr(connection_guard, "MOST_BYTES", 2**12)
    port = free_port()
    with moving(sends_to_port(port)) as node:
        got = results(of(node, listen_port=port))
    assert not any(isinstance(each, bytes) for each in got.values())
