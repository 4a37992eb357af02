"""What the API says and takes about people, tenants and API tokens. Secrets go in, or are shown once; never both."""

from datetime import datetime
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, SecretStr

from cloud.caller import Means, Permission, Role
from shared.enrolment import TenantName
from shared.ids import ID_PATTERN

USER_NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9._@-]{0,63}$"
PASSWORD_MAX_BYTES: Final = 256
TICKET_MAX_CHARS: Final = 512
CODE_MAX_CHARS: Final = 16
NAME_MAX_CHARS: Final = 64
PRINTABLE_PATTERN: Final = r"^[^\x00-\x1f\x7f-\x9f]*$"
"""No control characters."""
LABEL_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9 _.@-]{0,63}$"

UserName = Annotated[
    str,
    Field(
        pattern=USER_NAME_PATTERN,
        description="Lower-case letters, digits and . _ @ -; at most 64 characters.",
    ),
]
TenantOrAll = Annotated[
    str, Field(pattern=r"^([a-z0-9][a-z0-9-]{0,23}|\*)$", description="A tenant, or * for all of them.")
]
Password = Annotated[
    SecretStr,
    Field(max_length=PASSWORD_MAX_BYTES),
    PlainSerializer(SecretStr.get_secret_value, return_type=str, when_used="json"),
]
"""Shown by nothing but a request's own JSON."""
Code = Annotated[
    SecretStr,
    Field(max_length=CODE_MAX_CHARS),
    PlainSerializer(SecretStr.get_secret_value, return_type=str, when_used="json"),
]
TokenId = Annotated[str, Field(pattern=ID_PATTERN)]
TokenLabel = Annotated[str, Field(pattern=LABEL_PATTERN)]


class PeopleModel(BaseModel):
    """Frozen, and nothing unknown goes unnoticed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class CreateUser(PeopleModel):
    """`tenant` and `role`: the first role. `password` null: only an identity provider lets the user in, by
    `oidc_subject` at `oidc_issuer` (null: the one of the settings)."""

    name: UserName
    password: Password | None = None
    tenant: TenantOrAll | None = None
    role: Role | None = None
    oidc_subject: Annotated[str, Field(min_length=1, max_length=255, pattern=PRINTABLE_PATTERN)] | None = None
    oidc_issuer: Annotated[str, Field(min_length=1, max_length=300, pattern=PRINTABLE_PATTERN)] | None = None


class SetPassword(PeopleModel):
    password: Password


class SetRole(PeopleModel):
    role: Role


class RoleView(PeopleModel):
    tenant: str
    role: Role


class UserView(PeopleModel):
    """`roles`: those that the caller may see. `is_sound` false: a row was changed behind the hub's back."""

    name: str
    roles: list[RoleView]
    has_password: bool
    has_totp: bool
    oidc_issuer: str | None
    oidc_subject: str | None
    is_disabled: bool
    is_sound: bool
    created_at: datetime


class UserPage(PeopleModel):
    """`next`: the value of `after` for the following page, null on the last."""

    users: list[UserView]
    next: str | None


class TotpEnrolment(PeopleModel):
    """Shown once. `uri` is what a QR code for an authenticator app holds; `ticket` comes back with the first code."""

    secret: str
    uri: str
    ticket: str


class ConfirmTotp(PeopleModel):
    ticket: Annotated[str, Field(pattern=r"^[0-9a-f]*$", max_length=TICKET_MAX_CHARS)]
    code: Annotated[str, Field(min_length=6, max_length=CODE_MAX_CHARS)]


class CreateTenant(PeopleModel):
    name: TenantName


class TenantView(PeopleModel):
    """`devices` and `people`: how many it has."""

    name: str
    created_at: datetime
    devices: int
    people: int


class CreateApiToken(PeopleModel):
    """`tenant` null: the caller's own, or the default one. `ttl_s` null: as long as the settings allow."""

    label: TokenLabel
    role: Role
    tenant: TenantOrAll | None = None
    ttl_s: Annotated[int, Field(ge=1)] | None = None


class SignInForToken(PeopleModel):
    """`code` empty: none is asked for. `tenant`, `role`, `ttl_s` null: the user's own, the most, as settings say."""

    name: Annotated[str, Field(max_length=NAME_MAX_CHARS)]
    password: Password
    code: Code = SecretStr("")
    tenant: TenantOrAll | None = None
    role: Role | None = None
    ttl_s: Annotated[int, Field(ge=1)] | None = None


class ApiTokenView(PeopleModel):
    id: str
    label: str
    tenant: str
    role: str
    created_by: str
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    used_at: datetime | None
    is_sound: bool


class CreatedApiToken(PeopleModel):
    """`token` is shown this once."""

    token: str
    view: ApiTokenView


class WhoAmI(PeopleModel):
    """Who the hub takes the caller for. `tenant` null: may act in all. `person`: whose token it is, if a user's."""

    name: str
    person: str = ""
    tenant: str | None
    permissions: list[Permission]
    means: Means
