"""Calls nodes over TLS, and is called: the certificates are made for the test."""

import ssl
from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom.sop_class import Verification

from service.errors import PeerUnavailable, SettingInvalid
from service.pacs.address import parse_address
from service.pacs.archive import Wanted
from service.pacs.node.archive import open_node_archive
from service.pacs.node.associations import Patience
from service.pacs.node.destination import open_node_destination
from service.pacs.node.move_receiver import MoveReceiver
from service.pacs_settings import PacsSettings
from tests.support.archive import archived
from tests.support.certificates import authority, certificate
from tests.support.dicom_nodes import nothing_left, run_node, run_socket
from tests.support.orthanc import free_port, run_orthanc
from tests.support.synthetic import radiograph

pytestmark = pytest.mark.slow
HASTY = Patience(connect_s=1, answer_s=1, release_s=1, operation_s=1, waits_s=())


@pytest.fixture(autouse=True)
def _nothing_is_left():
    with nothing_left():
        yield


@pytest.fixture
def pem(tmp_path):
    """Writes an authority, another, and a certificate of the first for 127.0.0.1 with its key."""
    ours = authority(tmp_path)
    node = certificate(tmp_path, ours)
    other = authority(tmp_path, "Other authority")
    return {"ca": ours.file, "other": other.file, "certificate": node.file, "key": node.key_file}


@pytest.fixture
def node(pem):
    """A node that takes TLS only, from callers with a certificate of the authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pem["ca"]))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(pem["certificate"], pem["key"])
    with run_node([build_context(Verification)], [], ssl_context=context) as running:
        yield running


def reached(node, **settings):
    destination = open_node_destination(node, PacsSettings(**settings), HASTY)
    try:
        return destination.reachable()
    finally:
        destination.close()


def test_a_node_that_wants_our_certificate_is_called_over_tls(node, pem):
    ours = {"pacs_certificate": pem["certificate"], "pacs_certificate_key": pem["key"]}
    assert reached(node, pacs_ca=pem["ca"], **ours)


@pytest.mark.parametrize("trusted", ["other", None])
def test_without_the_right_authority_no_node_is_reached(node, pem, trusted):
    ours = {"pacs_ca": pem[trusted]} if trusted else {}
    with pytest.raises(PeerUnavailable, match="TLS"):
        reached(node, **ours)


def test_without_our_certificate_the_node_ends_the_connection(node, pem):
    with pytest.raises(PeerUnavailable, match="TLS"):
        reached(node, pacs_ca=pem["ca"])


def test_a_node_that_does_not_speak_tls_is_not_waited_for(pem):
    with (
        run_socket(lambda _: None) as silent,
        pytest.raises(PeerUnavailable, match="cannot be reached"),
    ):
        reached(silent, pacs_ca=pem["ca"])


def test_a_key_of_another_certificate_is_an_error(pem, node):
    with pytest.raises(SettingInvalid, match="ECLIP_PACS_CERTIFICATE"):
        reached(
            node, pacs_ca=pem["ca"], pacs_certificate=pem["other"], pacs_certificate_key=pem["key"]
        )


def test_orthanc_is_read_from_and_sent_to_over_tls(tmp_path, pem):
    file = archived(
        ExplicitVRLittleEndian,
        radiograph(40, 40, 12),
        StudyInstanceUID="1.2",
        SeriesInstanceUID="1.2.1",
    )
    with run_orthanc(
        tmp_path / "orthanc",
        DicomTlsEnabled=True,
        DicomTlsCertificate=str(pem["certificate"]),
        DicomTlsPrivateKey=str(pem["key"]),
        DicomTlsTrustedCertificates=str(pem["ca"]),
    ) as orthanc:
        settings = PacsSettings(
            pacs_ca=pem["ca"],
            pacs_certificate=pem["certificate"],
            pacs_certificate_key=pem["key"],
        )
        destination = open_node_destination(parse_address(orthanc.node), settings)
        destination.send(file)
        destination.close()
        archive = open_node_archive(parse_address(orthanc.node), settings)
        (study,) = archive.studies(Wanted())
        ((_, got),) = archive.fetch(study, archive.instances(study))
        archive.close()
    assert dcmread(BytesIO(got)) == dcmread(BytesIO(file))


def test_objects_are_received_over_tls(pem):
    receiver = MoveReceiver(
        PacsSettings(
            listen_port=(port := free_port()),
            listen_certificate=pem["certificate"],
            listen_certificate_key=pem["key"],
            listen_ca=pem["ca"],
        )
    )
    context = ssl.create_default_context(cafile=str(pem["ca"]))
    context.load_cert_chain(pem["certificate"], pem["key"])
    sender = AE("PACS")
    sender.add_requested_context("1.2.840.10008.5.1.4.1.1.1")
    for tls, accepted in (((context, "127.0.0.1"), True), (None, False)):
        sender.acse_timeout = 1
        association = sender.associate("127.0.0.1", port, ae_title="ECLIP", tls_args=tls)
        assert association.is_established is accepted
        association.release()
    receiver.close()
