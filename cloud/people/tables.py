"""Tenants, users, their roles, sessions and API tokens. Secrets are kept only as hashes.

`mac` is an HMAC over the row's other columns that decide anything, under a key of the hub: a row that was written
behind the hub's back lets nobody in.
"""

from datetime import datetime

from sqlalchemy import Column, LargeBinary, UniqueConstraint
from sqlmodel import Field, SQLModel

from cloud.db import UtcDateTime


class Tenant(SQLModel, table=True):
    """A border: devices, tasks, settings, people and documents are on one side of it."""

    name: str = Field(primary_key=True, max_length=24)
    created_at: datetime = Field(sa_type=UtcDateTime)


class User(SQLModel, table=True):
    """A person. Without a password only an identity provider lets in (`oidc_*`); without both, nobody."""

    __tablename__ = "hub_user"
    __table_args__ = (UniqueConstraint("oidc_issuer", "oidc_subject", name="uq_hub_user_oidc"),)

    name: str = Field(primary_key=True, max_length=64)
    password_hash: str | None = Field(default=None, max_length=256)
    totp_secret: bytes | None = Field(default=None, sa_column=Column(LargeBinary(256)))
    """Encrypted under a key of the hub."""
    totp_last_step: int = 0
    """The latest time step whose code was accepted: a code lets in once (RFC 6238, section 5.2)."""
    oidc_issuer: str | None = Field(default=None, max_length=300)
    oidc_subject: str | None = Field(default=None, max_length=255)
    is_disabled: bool = False
    created_at: datetime = Field(sa_type=UtcDateTime)
    mac: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))


class Membership(SQLModel, table=True):
    """The role of a user in a tenant; tenant `*` is every tenant, for administrators of the hub."""

    user_name: str = Field(primary_key=True, foreign_key="hub_user.name", max_length=64)
    tenant: str = Field(primary_key=True, max_length=24)
    role: str = Field(max_length=16)
    mac: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))


class BrowserSession(SQLModel, table=True):
    """A signed-in browser, by the hash of its cookie. `tenant`: which of the user's it looks at, `*` for all."""

    __tablename__ = "browser_session"

    id_sha256: bytes = Field(sa_column=Column(LargeBinary(32), primary_key=True))
    user_name: str = Field(index=True, max_length=64)
    tenant: str = Field(max_length=24)
    address: str = Field(max_length=64)
    created_at: datetime = Field(sa_type=UtcDateTime)
    seen_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    mac: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))


class ApiToken(SQLModel, table=True):
    """A program's credential: shown once, hashed, for one tenant (`*`: all) in one role, expiring."""

    __tablename__ = "api_token"

    id: str = Field(primary_key=True, max_length=16)
    secret_sha256: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))
    label: str = Field(max_length=64)
    tenant: str = Field(index=True, max_length=24)
    role: str = Field(max_length=16)
    created_by: str = Field(max_length=64)
    created_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    mac: bytes = Field(sa_column=Column(LargeBinary(32), nullable=False))


class SignInAttempts(SQLModel, table=True):
    """Failed sign-ins by user name or by address (`key`), counted for all processes of the hub."""

    __tablename__ = "sign_in_attempts"

    key: str = Field(primary_key=True, max_length=96)
    failures: int = 0
    last_at: datetime = Field(sa_type=UtcDateTime)


class SpentOidcState(SQLModel, table=True):
    """A sign-in that came back from the identity provider, by the hash of its state: it comes back once."""

    __tablename__ = "spent_oidc_state"

    state_sha256: bytes = Field(sa_column=Column(LargeBinary(32), primary_key=True))
    expires_at: datetime = Field(sa_type=UtcDateTime)
