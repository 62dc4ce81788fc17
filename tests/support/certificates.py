"""Makes a private authority and its certificates, as PEM files, for TLS in tests."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True)
class Certificate:
    """PEM files of a certificate and of its private key, and both as objects."""

    file: Path
    key_file: Path
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def authority(folder: Path, name: str = "Test authority") -> Certificate:
    """Returns a new authority that signs its own certificate."""
    return _made(folder, name, issuer=None, extensions=[])


def certificate(
    folder: Path,
    issuer: Certificate,
    name: str = "localhost",
    *,
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1"),
    days: int = 1,
) -> Certificate:
    """Returns a certificate for a server of these hosts, or for a client, issued by the authority.

    days: how long it is valid; a negative number makes one that expired so many days ago.
    """
    names = [_host(host) for host in hosts]
    usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    extensions = [x509.SubjectAlternativeName(names), x509.ExtendedKeyUsage(usage)]
    return _made(folder, name, issuer, extensions, days)


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _made(folder, name, issuer, extensions, days=1) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    is_authority = issuer is None
    signer = key if issuer is None else issuer.key
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=abs(days) + 1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(_usage(is_authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    signed = builder.sign(signer, hashes.SHA256())
    return _written(folder, name, signed, key)


def _usage(is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _written(folder, name, signed, key) -> Certificate:
    folder.mkdir(parents=True, exist_ok=True)
    stem = name.replace(" ", "-").lower()
    file, key_file = folder / f"{stem}.pem", folder / f"{stem}.key"
    file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    key_file.chmod(0o600)
    return Certificate(file, key_file, signed, key)
