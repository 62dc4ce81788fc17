"""A DICOMweb service is asked over TLS by the certificates that the settings name."""

import ssl
from contextlib import closing, contextmanager

import httpx
import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from pydicom.uid import JPEG2000Lossless

from service.errors import PeerRefused, SettingInvalid
from service.pacs.address import WebAddress
from service.pacs.archive import Wanted
from service.pacs.web.archive import open_web_archive
from service.pacs.web.destination import open_web_destination
from service.pacs.web.reply import read_items
from service.pacs.web.session import Patience, Question, WebSession
from service.pacs_settings import PacsSettings
from tests.support.archive import archived
from tests.support.certificates import authority, certificate
from tests.support.orthanc import run_orthanc
from tests.support.web_peer import peer

QUICK = Patience(connect_s=5, silence_s=5, answer_s=10, tries=2, pause_s=0.01, total_s=20)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    return authority(tmp_path_factory.mktemp("tls"), "Hospital")


@pytest.fixture(scope="module")
def pacs(hospital):
    return certificate(hospital.file.parent, hospital, "pacs")


@pytest.fixture(scope="module")
def client(hospital):
    return certificate(hospital.file.parent, hospital, "eclip", hosts=("eclip.test",))


def server_side(shown, callers=None):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(shown.file, shown.key_file)
    if callers is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(callers.file)
    return context


@contextmanager
def asking(context, host="127.0.0.1", **settings):
    with peer(lambda asked: asked.items(), context) as server:
        url = server.url.replace("127.0.0.1", host)
        with closing(WebSession(WebAddress(url), PacsSettings(**settings), QUICK)) as session:
            yield lambda: session.ask(Question(("studies",)), read_items)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_private_authority_is_trusted_if_it_is_named(hospital, pacs, host):
    with asking(server_side(pacs), host, pacs_ca=hospital.file) as ask:
        assert ask() == []


def test_an_unknown_authority_is_refused(pacs, tmp_path):
    other = authority(tmp_path, "Other")
    asked = asking(server_side(pacs), pacs_ca=other.file)
    with asked as ask, pytest.raises(PeerRefused, match="ECLIP_PACS_CA"):
        ask()
    with asking(server_side(pacs)) as ask, pytest.raises(PeerRefused, match="ECLIP_PACS_CA"):
        ask()


def test_a_certificate_for_another_host_is_refused(hospital, tmp_path):
    other = certificate(tmp_path, hospital, "other", hosts=("pacs.test",))
    asked = asking(server_side(other), pacs_ca=hospital.file)
    with asked as ask, pytest.raises(PeerRefused, match="host name"):
        ask()


def test_an_expired_certificate_is_refused(hospital, tmp_path):
    old = certificate(tmp_path, hospital, "old", days=-1)
    asked = asking(server_side(old), pacs_ca=hospital.file)
    with asked as ask, pytest.raises(PeerRefused, match="certificate has expired"):
        ask()


def test_a_service_that_asks_for_a_certificate_gets_ours(hospital, pacs, client):
    settings = {"pacs_certificate": client.file, "pacs_certificate_key": client.key_file}
    with asking(server_side(pacs, hospital), pacs_ca=hospital.file, **settings) as ask:
        assert ask() == []


def test_certificate_and_key_may_be_in_one_file(hospital, pacs, client, tmp_path):
    both = tmp_path / "both.pem"
    both.write_bytes(client.key_file.read_bytes() + client.file.read_bytes())
    with asking(server_side(pacs, hospital), pacs_ca=hospital.file, pacs_certificate=both) as ask:
        assert ask() == []


def test_without_a_certificate_the_setting_is_named(hospital, pacs):
    asked = asking(server_side(pacs, hospital), pacs_ca=hospital.file)
    with asked as ask, pytest.raises(PeerRefused, match="ECLIP_PACS_CERTIFICATE"):
        ask()


def test_a_plain_service_is_not_asked_over_tls(hospital):
    with peer(lambda asked: asked.items()) as server:
        url = server.url.replace("http:", "https:")
        session = WebSession(WebAddress(url), PacsSettings(pacs_ca=hospital.file), QUICK)
        with closing(session), pytest.raises(PeerRefused, match=r"dicomweb\+http"):
            session.ask(Question(("studies",)), read_items)


def test_files_that_do_not_belong_together_are_refused(client, pacs):
    settings = PacsSettings(pacs_certificate=client.file, pacs_certificate_key=pacs.key_file)
    with pytest.raises(SettingInvalid, match="belong together"):
        WebSession(WebAddress("https://127.0.0.1/dicom-web"), settings)


def test_an_encrypted_key_is_refused_without_asking_for_its_passphrase(client, tmp_path):
    key = tmp_path / "encrypted.key"
    key.write_bytes(
        client.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    settings = PacsSettings(pacs_certificate=client.file, pacs_certificate_key=key)
    with pytest.raises(SettingInvalid, match="encrypted"):
        WebSession(WebAddress("https://127.0.0.1/dicom-web"), settings)


@pytest.mark.slow
def test_an_orthanc_behind_a_proxy_that_asks_for_a_certificate(hospital, pacs, client, tmp_path):
    """Debian's Orthanc 1.10 speaks no TLS that lasts, so a proxy does, as in a hospital."""
    uids = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.1", "PatientID": "P"}
    file = archived(JPEG2000Lossless, np.zeros((32, 32), np.uint16), **uids)
    with run_orthanc(tmp_path) as orthanc:

        def forward(asked):
            headers = {
                key: asked.headers[key]
                for key in ("accept", "content-type")
                if key in asked.headers
            }
            url = orthanc.url + asked.path
            got = httpx.request(asked.command, url, content=asked.sent, headers=headers)
            asked.reply(got.status_code, got.content, got.headers["content-type"])

        with peer(forward, server_side(pacs, hospital)) as proxy:
            settings = PacsSettings(
                pacs_ca=hospital.file,
                pacs_certificate=client.file,
                pacs_certificate_key=client.key_file,
            )
            address = WebAddress(proxy.url)
            with closing(open_web_destination(address, settings, QUICK)) as destination:
                destination.send(file)
            with closing(open_web_archive(address, settings, QUICK)) as archive:
                (study,) = archive.studies(Wanted())
                ((_, fetched),) = archive.fetch(study, archive.instances(study))
                assert fetched == file
