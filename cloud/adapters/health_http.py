"""Whether the hub's HTTPS answers, and with which version: what everybody may ask it. Blocking."""

import ssl
from pathlib import Path
from typing import Final

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from shared.enrolment import HEALTH_PATH
from shared.errors import ProtocolError, UnavailableError

TIMEOUT_S: Final = 5.0


class _Health(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    version: str


def ask_version(url: str, ca: Path) -> str:
    """Raises `UnavailableError` if nothing answers there, `ProtocolError` if what answers is not this hub."""
    try:
        context = ssl.create_default_context(cafile=str(ca))
        answer = httpx.get(url + HEALTH_PATH, verify=context, timeout=TIMEOUT_S, trust_env=False)
        answer.raise_for_status()
        return _Health.model_validate_json(answer.content).version
    except (httpx.HTTPStatusError, ValueError, ValidationError) as error:
        raise ProtocolError(f"What answers at {url} is not a hub of this version.") from error
    except (httpx.HTTPError, OSError) as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise ProtocolError(
                f"What answers at {url} shows no valid certificate of this hub's CA."
            ) from error
        raise UnavailableError(f"Nothing answers at {url}.") from error
