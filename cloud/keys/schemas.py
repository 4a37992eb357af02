"""What the API says and takes about the hub's keys. Never a private one."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

Rotatable = Literal["issuing", "orders", "policy", "audit"]
KeyState = Literal["current", "former", "replaced_by_root"]


class KeyView(BaseModel):
    """One key. `purpose`: root, issuing, server, client, orders, policy, audit. `fingerprint`: SHA-256 of a
    certificate, or the id of a signing key, in hexadecimal. `number`: of a signing key in its succession.

    `is_private_here`: its private half is on this machine. `is_encrypted`: and encrypted with the hub's passphrase.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    purpose: str
    state: KeyState
    fingerprint: str
    number: int | None
    since: datetime
    until: datetime | None
    file: str
    is_private_here: bool
    is_encrypted: bool


class RotateKey(BaseModel):
    """`by_root`: the root states the new key, since the present one was lost or stolen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by_root: bool = False


class RotatedKey(BaseModel):
    """What was made, and every key as it stands now."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    purpose: Rotatable
    key: str
    keys: list[KeyView]
