"""A TLS certificate and its key, as files.

Their faults are errors before the node is up.
"""

import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509

from eigenkms.errors import InputError


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files: the certificate with its chain, and its key."""

    certificate: Path
    key: Path

    def load(self) -> ssl.SSLContext:
        """Return the server context. Raises ``InputError``."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        for path in (self.certificate, self.key):
            _check_readable(path)
        try:
            context.load_cert_chain(self.certificate, self.key, password=lambda: b"")
        except (ssl.SSLError, OSError, ValueError) as error:
            raise InputError(
                f"use certificate {self.certificate} with key {self.key}: they are not PEM files that belong together",
                hint="give --http-certificate the whole chain and --http-key its key, not encrypted",
            ) from error
        return context

    def validity(self) -> tuple[datetime, datetime]:
        """Return from when until when each certificate of the chain is valid.

        Raises ``InputError``.
        """
        try:
            chain = x509.load_pem_x509_certificates(self.certificate.read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(
                f"read certificate {self.certificate}: it is not PEM", hint="check --http-certificate"
            ) from error
        return max(c.not_valid_before_utc for c in chain), min(c.not_valid_after_utc for c in chain)


def _check_readable(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"read {path}: {reason}", hint="check --http-certificate and --http-key") from error
