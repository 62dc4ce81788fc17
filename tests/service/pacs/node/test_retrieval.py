"""Nodes that send too much, too little or the wrong objects, by C-GET and by C-MOVE."""

import contextlib
import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest
from pydicom import dcmread, uid
from pynetdicom import build_context, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from service.errors import PeerRefused, PeerUnavailable
from service.pacs.archive import Instance, ListedStudy
from service.pacs.node import connection_guard, retrieval
from service.pacs.node.archive import open_node_archive
from service.pacs.node.associations import Patience
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
GET = [
    build_context(StudyRootQueryRetrieveInformationModelGet),
    build_context(CR, uid.ExplicitVRLittleEndian),
]
GET[1].scu_role, GET[1].scp_role = True, True
MOVE = [build_context(StudyRootQueryRetrieveInformationModelMove)]
STUDY = ListedStudy("1.2")
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


def getting(handle):
    return run_node(GET, [(evt.EVT_C_GET, handle)])


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


def drops_once():
    """Answers to C-GET: drops the first, and gives what is asked for from then on."""
    dropped = []

    def drop_once(event):
        if not dropped:
            dropped.append(event)
            event.assoc.abort()
            return
        yield from asked_for(event)

    return drop_once


def test_a_node_that_drops_an_object_once_gives_it_at_last(of):
    with getting(drops_once()) as node:
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


def test_c_get_is_tried_again_where_nothing_can_listen_for_c_move(of):
    both = [*GET, *MOVE]
    with run_node(both, [(evt.EVT_C_GET, drops_once())]) as node:
        got = results(of(node, listen_port=node.port))
    assert all(isinstance(each, bytes) for each in got.values())


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


def test_nothing_of_an_object_is_logged(of, caplog, capfd):
    with caplog.at_level(logging.DEBUG), getting(asked_for) as node:
        assert all(isinstance(each, bytes) for each in results(of(node)).values())
    assert caplog.text == ""
    assert capfd.readouterr() == ("", "")
