"""The hub's HTTPS as a device sees it without a token: whether it answers, its version and its time. Blocking.

The time of the hub is wanted most when ours is wrong, and then no certificate is valid. So the certificate's authority
and name are verified and its dates are not: what is asked is open to everybody, and nothing secret is sent.
"""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import monotonic
from typing import Final

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from shared.enrolment import HEALTH_PATH
from shared.errors import ProtocolError, UnavailableError

TIMEOUT_S: Final = 5.0
X509_V_FLAG_NO_CHECK_TIME: Final = 0x200000
"""OpenSSL's x509_vfy.h; Python has no name for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubAnswer:
    """`at`: the hub's time (whole seconds) when ours was `ours`, give or take half of `took`."""

    version: str
    at: datetime
    ours: datetime
    took: timedelta


class _Health(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    status: str
    version: str


def ask_hub(url: str, ca: Path) -> HubAnswer:
    """Raises `UnavailableError` if nothing answers there, `ProtocolError` if what answers is not the hub."""
    try:
        context = ssl.create_default_context(cafile=str(ca))
        context.verify_flags |= ssl.VerifyFlags(X509_V_FLAG_NO_CHECK_TIME)
        asked, begun = datetime.now(UTC), monotonic()
        answer = httpx.get(url + HEALTH_PATH, verify=context, timeout=TIMEOUT_S, trust_env=False)
        took = timedelta(seconds=monotonic() - begun)
        answer.raise_for_status()
        return HubAnswer(
            version=_Health.model_validate_json(answer.content).version,
            at=parsedate_to_datetime(answer.headers["date"]).astimezone(UTC),
            ours=asked + took / 2,
            took=took,
        )
    except (httpx.HTTPStatusError, KeyError, ValueError, ValidationError) as error:
        raise ProtocolError(f"What answers at {url} is not a hub of this version.") from error
    except (httpx.HTTPError, OSError) as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise ProtocolError(
                f"What answers at {url} has no certificate of this hub's authority for that name."
            ) from error
        raise UnavailableError(f"The hub does not answer at {url} over HTTPS.") from error
