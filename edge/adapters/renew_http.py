"""What a device asks the hub over HTTPS by itself: a renewal when the broker lets it in no more, and what a revision of
knowledge needs. Blocking; without an HTTP library, which the daemon has no other use for.

The hub's certificate is verified against the device's authority, dates included: a wrong clock makes it fail, and is
told as that.
"""

import http.client
import json
import ssl
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from shared.errors import ConfigError, ProtocolError, RefusedError, UnavailableError
from shared.knowledge.fetch import FETCH_PATH
from shared.knowledge.manifest import MANIFEST_MAX_BYTES
from shared.renewal import RENEW_PATH

TIMEOUT_S: Final = 20.0
HTTPS_PORT: Final = 443
ANSWER_MAX_BYTES: Final = 65_536
CLOCK: Final = "clock"
"""Code of the error for a hub's certificate whose dates do not fit our clock."""
BUSY: Final = 429
RENEWING: Final = "renew the certificate"
FETCHING: Final = "hand over a collection"


def post_renewal(hub_url: str, ca: Path, body: bytes) -> bytes:
    """The body of the hub's answer to `POST /v1/renew`. Raises as `_posted`."""
    return _posted(hub_url, ca, RENEW_PATH, body, answer_max_bytes=ANSWER_MAX_BYTES, what=RENEWING)


def post_fetch(hub_url: str, ca: Path, body: bytes) -> bytes:
    """The body of the hub's answer to `POST /v1/knowledge-fetch`. Raises as `_posted`."""
    return _posted(hub_url, ca, FETCH_PATH, body, answer_max_bytes=MANIFEST_MAX_BYTES, what=FETCHING)


def _posted(hub_url: str, ca: Path, path: str, body: bytes, *, answer_max_bytes: int, what: str) -> bytes:
    """The body of the hub's answer.

    Raises `RefusedError` with the hub's code, `ProtocolError` for what is no answer of a hub's, and
    `UnavailableError` if it does not answer, or later; with code `clock` if by our clock its certificate is not valid.
    """
    where = urlsplit(hub_url)
    if where.scheme != "https" or where.hostname is None:
        raise ConfigError(f"{hub_url} is no address of a hub; enrol this device again.")
    try:
        context = ssl.create_default_context(cafile=str(ca))
        connection = http.client.HTTPSConnection(
            where.hostname, where.port or HTTPS_PORT, timeout=TIMEOUT_S, context=context
        )
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            status, content = answer.status, answer.read(answer_max_bytes + 1)
        finally:
            connection.close()
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in DATES_WRONG:
            raise UnavailableError(
                f"By this device's clock the hub's certificate is not valid ({error.verify_message}).",
                code=CLOCK,
            ) from error
        raise ProtocolError(
            f"What answers at {hub_url} has no certificate of this device's hub ({error.verify_message})."
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise UnavailableError(
            f"The hub at {hub_url} does not answer ({str(error) or type(error).__name__})."
        ) from error
    if len(content) > answer_max_bytes:
        raise ProtocolError(f"The hub's answer is larger than {answer_max_bytes} bytes.")
    if status == http.client.OK:
        return content
    code, message = _problem(content, what)
    if status >= http.client.INTERNAL_SERVER_ERROR or status == BUSY:
        raise UnavailableError(message, code=code)
    raise RefusedError(message, code=code)


DATES_WRONG: Final = (9, 10)
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED (OpenSSL's x509_vfy.h)."""


def _problem(content: bytes, what: str) -> tuple[str, str]:
    try:
        problem: Any = json.loads(content)
        return str(problem["code"])[:32], str(problem["message"])[:400]
    except (ValueError, KeyError, TypeError):
        return "refused", f"The hub refused to {what}."
