"""A self-signed certificate, made once and kept, for first steps without a certificate of one's own."""

import ipaddress
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_LIFE = timedelta(days=825)
"""The longest that Apple's platforms accept."""


def self_signed(folder: Path, host: str) -> tuple[Path, Path]:
    """Certificate and key files for this machine and `host`; made at the first call, and again before they expire."""
    certificate, key = folder / "self-signed.crt", folder / "self-signed.key"
    if not (key.exists() and certificate.exists() and _still_good(certificate)):
        _make(certificate, key, host)
    return certificate, key


def _still_good(path: Path) -> bool:
    loaded = x509.load_pem_x509_certificate(path.read_bytes())
    return loaded.not_valid_after_utc > datetime.now(UTC) + timedelta(days=7)


def _make(certificate: Path, key: Path, host: str) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Takeover, self-signed")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectAlternativeName(_names(host)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key.touch(mode=0o600)
    key.write_bytes(pem)
    certificate.write_bytes(built.public_bytes(serialization.Encoding.PEM))


def _names(host: str) -> list[x509.GeneralName]:
    names = dict.fromkeys(["localhost", socket.gethostname(), "127.0.0.1", host])
    return [_name(one) for one in names if one not in ("", "0.0.0.0", "::")]  # noqa: S104 - compared, not bound


def _name(one: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(one))
    except ValueError:
        return x509.DNSName(one)
