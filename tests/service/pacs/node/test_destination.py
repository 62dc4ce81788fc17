"""Sends objects to real nodes: Orthanc and DCMTK's storescp, which can refuse, abort and sleep."""

import socket
import struct
from io import BytesIO

import pytest
from pydicom import dcmread, uid
from pynetdicom import build_context, evt
from pynetdicom.sop_class import Verification

from service.errors import PeerRefused, PeerUnavailable
from service.pacs.address import NodeAddress, parse_address
from service.pacs.node.associations import Patience
from service.pacs.node.destination import open_node_destination
from service.pacs_settings import PacsSettings
from tests.support.archive import archived
from tests.support.dicom_nodes import nothing_left, run_node, run_socket, run_storescp
from tests.support.orthanc import free_port, run_orthanc
from tests.support.synthetic import radiograph

pytestmark = pytest.mark.slow
HASTY = Patience(connect_s=1, answer_s=1, release_s=1, operation_s=2, listing_s=2, waits_s=(0.01,))
CR = uid.ComputedRadiographyImageStorage


@pytest.fixture(autouse=True)
def _nothing_is_left():
    with nothing_left():
        yield


@pytest.fixture
def to():
    """Opens destinations, and closes them."""
    opened = []

    def open_(node, **settings):
        opened.append(open_node_destination(node, PacsSettings(**settings), HASTY))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


def an_object(syntax=uid.ExplicitVRLittleEndian, side=40, **elements):
    pixels = radiograph(side, side, 12)
    return archived(syntax, pixels, StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1", **elements)


def test_orthanc_stores_an_object_and_then_has_its_study(tmp_path, to):
    file = an_object(uid.JPEG2000Lossless)
    with run_orthanc(tmp_path) as orthanc:
        destination = to(parse_address(orthanc.node))
        assert destination.reachable()
        assert destination.has_study("1.2") is False
        destination.send(file)
        destination.send(file)
        assert destination.has_study("1.2") is True
        (held,) = orthanc.files()
    assert dcmread(BytesIO(held)) == dcmread(BytesIO(file))
    assert dcmread(BytesIO(held)).file_meta.TransferSyntaxUID == uid.JPEG2000Lossless


@pytest.mark.parametrize(
    ("syntax", "option"),
    [
        (uid.ExplicitVRLittleEndian, "+x="),
        (uid.ImplicitVRLittleEndian, "+x="),
        (uid.ExplicitVRLittleEndian, "+xi"),
        (uid.JPEGLosslessSV1, "+xs"),
        (uid.JPEG2000Lossless, "+xv"),
        (uid.JPEGLSLossless, "+xt"),
        (uid.RLELossless, "+xr"),
        (uid.DeflatedExplicitVRLittleEndian, "+xd"),
    ],
)
def test_storescp_gets_the_object_in_its_own_syntax_or_a_native_one(tmp_path, to, syntax, option):
    file = an_object(syntax)
    with run_storescp(tmp_path / "in", option) as node:
        to(node).send(file)
        (path,) = (tmp_path / "in").iterdir()
        stored = dcmread(path)
    expected = uid.ImplicitVRLittleEndian if option == "+xi" else syntax
    assert stored.file_meta.TransferSyntaxUID == expected
    assert stored == dcmread(BytesIO(file))


def test_a_node_that_does_not_take_the_syntax_refuses(tmp_path, to):
    with run_storescp(tmp_path, "+x=") as node, pytest.raises(PeerRefused, match="accepts nothing"):
        to(node).send(an_object(uid.JPEG2000Lossless))


def test_what_cannot_be_asked_about_studies_says_so(tmp_path, to):
    with run_storescp(tmp_path) as node:
        assert to(node).has_study("1.2") is None


@pytest.mark.parametrize("option", ["--refuse", "--abort-after", "--abort-during"])
def test_a_node_that_refuses_or_aborts_ends_in_an_error(tmp_path, to, option):
    with (
        run_storescp(tmp_path, option) as node,
        pytest.raises(PeerRefused if option == "--refuse" else PeerUnavailable),
    ):
        to(node).send(an_object(side=400))


def test_a_node_that_takes_too_long_ends_in_an_error(tmp_path, to):
    with run_storescp(tmp_path, "--sleep-during", "30") as node, pytest.raises(PeerUnavailable):
        to(node).send(an_object(side=400))


def test_a_node_that_is_slow_after_its_answer_has_stored_the_object(tmp_path, to):
    with run_storescp(tmp_path, "--sleep-after", "30") as node:
        to(node).send(an_object())


def test_no_node_is_an_error(to):
    with pytest.raises(PeerUnavailable, match="cannot be reached"):
        to(NodeAddress("NOBODY", "127.0.0.1", free_port())).send(an_object())


def test_a_host_that_has_no_address_is_an_error(to):
    with pytest.raises(PeerUnavailable, match="cannot be reached"):
        to(NodeAddress("NOBODY", "no-such-host.invalid", 104)).reachable()


def test_what_is_not_a_dicom_file_is_refused(to):
    with pytest.raises(PeerRefused, match="Only a DICOM file"):
        to(NodeAddress("NOBODY", "127.0.0.1", 1)).send(b"no DICOM")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (0xA700, PeerUnavailable),
        (0xA702, PeerUnavailable),
        (0xA900, PeerRefused),
        (0xC123, PeerRefused),
        (0x0124, PeerRefused),
    ],
)
def test_each_status_has_its_error(to, status, error):
    with (
        run_node([build_context(CR)], [(evt.EVT_C_STORE, lambda _: status)]) as node,
        pytest.raises(error, match=f"{status:04X}"),
    ):
        to(node).send(an_object())


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB006, 0xB007])
def test_a_warning_is_no_error(to, status):
    with run_node([build_context(CR)], [(evt.EVT_C_STORE, lambda _: status)]) as node:
        to(node).send(an_object())


def test_an_object_is_sent_again_where_the_node_drops_it_once(to):
    received = []

    def store(event):
        received.append(event.request.AffectedSOPInstanceUID)
        if len(received) == 1:
            event.assoc.abort()
        return 0

    with run_node([build_context(CR)], [(evt.EVT_C_STORE, store)]) as node:
        to(node).send(an_object())
    assert len(received) == 2


@pytest.mark.parametrize(
    ("required", "setting"),
    [
        ({"require_calling_aet": ["OTHER"]}, "ECLIP_AE_TITLE"),
        ({"require_called_aet": True}, "before the @"),
    ],
)
def test_a_wrong_title_names_what_to_correct(to, required, setting):
    with run_node([build_context(Verification)], [], **required) as node:
        other = NodeAddress("OTHER", node.host, node.port)
        with pytest.raises(PeerRefused, match=setting):
            to(other).reachable()


def rejecting(event):
    event.assoc.acse.send_reject(0x02, 0x03, 0x02)
    event.assoc.kill()  # waits until it is sent


def test_a_node_with_no_place_for_an_association_is_unavailable(to):
    with (
        run_node([build_context(Verification)], [(evt.EVT_REQUESTED, rejecting)]) as node,
        pytest.raises(PeerUnavailable, match="no more associations"),
    ):
        to(node).reachable()


def test_a_node_that_has_a_place_later_is_asked_again(to):
    asked = []

    def reject_once(event):
        asked.append(event)
        if len(asked) == 1:
            rejecting(event)

    with run_node([build_context(Verification)], [(evt.EVT_REQUESTED, reject_once)]) as node:
        assert to(node).reachable()
    assert len(asked) == 2


def test_a_node_that_reads_nothing_does_not_hold_a_sender(to):
    with (
        run_node([build_context(CR)], []) as node,
        run_socket(stuck_after(node)) as stuck,
        pytest.raises(PeerUnavailable),
    ):
        to(stuck).send(an_object(side=3000))


def stuck_after(node):
    """Returns what passes a caller's request to a node and its answer back, and then stops."""

    def serve(connection):
        with socket.create_connection((node.host, node.port)) as behind:
            for of, to in ((connection, behind), (behind, connection)):
                head = of.recv(6, socket.MSG_WAITALL)
                to.sendall(head + of.recv(struct.unpack(">L", head[2:])[0], socket.MSG_WAITALL))

    return serve
