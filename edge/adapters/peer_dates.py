"""From when until when the hub's server certificate is valid. Blocking.

Asked when TLS fails because of dates, to tell a person which clock is wrong. So authority and name are verified and the
dates are not; nothing is sent over the connection and nothing is believed because of it.
"""

import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

TIMEOUT_S: Final = 5.0
HTTPS_PORT: Final = 443
X509_V_FLAG_NO_CHECK_TIME: Final = 0x200000
"""OpenSSL's x509_vfy.h; Python has no name for it."""


def hub_dates(hub_url: str, ca: Path) -> tuple[datetime, datetime] | None:
    """Its first and last second; None if nobody answers there, or not the hub."""
    where = urlsplit(hub_url)
    try:
        context = ssl.create_default_context(cafile=str(ca))
        context.verify_flags |= ssl.VerifyFlags(X509_V_FLAG_NO_CHECK_TIME)
        address = where.hostname or "", where.port or HTTPS_PORT
        with (
            socket.create_connection(address, timeout=TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=where.hostname) as secured,
        ):
            certificate = secured.getpeercert() or {}
        return _time(certificate["notBefore"]), _time(certificate["notAfter"])
    except (OSError, ValueError, KeyError):
        return None


def _time(text: object) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(text)), tz=UTC)
