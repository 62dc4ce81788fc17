from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from service.errors import SettingInvalid
from service.pacs.tls import client_tls, server_tls
from service.pacs_settings import PacsSettings


@pytest.mark.parametrize(("make", "name"), [(client_tls, "pacs"), (server_tls, "listen")])
def test_an_encrypted_key_is_refused_and_no_passphrase_is_asked_for(tmp_path, make, name):
    key, path = ec.generate_private_key(ec.SECP256R1()), tmp_path / "both.pem"
    path.write_bytes(
        certificate(key).public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    settings = PacsSettings(**{f"{name}_certificate": path, f"{name}_certificate_key": path})
    with pytest.raises(SettingInvalid, match="is encrypted") as refused:
        make(settings)
    assert str(path) not in refused.value.detail


def certificate(key):
    name, now = x509.Name([]), datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    return made.sign(key, SHA256())
