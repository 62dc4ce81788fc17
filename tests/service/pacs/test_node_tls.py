"""Calls nodes over TLS, and is called: the certificates are made for the test."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pynetdicom import AE, build_context
from pynetdicom.sop_class import Verification

from service.errors import PeerUnavailable, SettingInvalid
from service.pacs.associations import Patience
from service.pacs.move_receiver import MoveReceiver
from service.pacs.node_destination import open_node_destination
from service.pacs_settings import PacsSettings
from tests.support.dicom_nodes import nothing_left, run_node, run_socket
from tests.support.orthanc import free_port

pytestmark = pytest.mark.slow
HASTY = Patience(connect_s=1, answer_s=1, release_s=1, operation_s=1, waits_s=())


@pytest.fixture(autouse=True)
def _nothing_is_left():
    with nothing_left():
        yield


@pytest.fixture
def pem(tmp_path):
    """Writes an authority, another, and a certificate of the first for 127.0.0.1 with its key."""
    authority = made("authority", None)
    node = made("node", authority)
    files = {"ca": authority[0], "other": made("other", None)[0], "certificate": node[0]}
    for name, certificate in files.items():
        (tmp_path / f"{name}.pem").write_bytes(certificate.public_bytes(PEM))
    (tmp_path / "key.pem").write_bytes(
        node[1].private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return {each.stem: each for each in tmp_path.glob("*.pem")}


PEM = serialization.Encoding.PEM


def made(name, authority):
    """Returns a certificate and its key, signed by an authority or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer, signer = (authority[0].subject, authority[1]) if authority else (subject, key)
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False
        )
    )
    return builder.sign(signer, hashes.SHA256()), key


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


@pytest.mark.parametrize("authority", ["other", None])
def test_without_the_right_authority_no_node_is_reached(node, pem, authority):
    ours = {"pacs_ca": pem[authority]} if authority else {}
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
