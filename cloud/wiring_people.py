"""The part of the composition root that deals with people: how they sign in, and the routes about them."""

from dataclasses import dataclass

from fastapi import APIRouter

from cloud.dashboard.account import account_routes
from cloud.dashboard.door import DashboardDoor
from cloud.dashboard.sessions import Sessions
from cloud.dashboard.sign_in import Ways, sign_in_routes
from cloud.db import Database
from cloud.ground import Ground
from cloud.people.assembly import People, assemble
from cloud.people.authenticate import Authenticator
from cloud.people.oidc import IdentityProvider
from cloud.people.passwords import Cost
from cloud.people.routes import api_token_routes, people_routes, tenant_routes
from cloud.people.routes import sign_in_routes as token_sign_in_routes
from cloud.people.seals import PeopleSeals
from cloud.private_files import read_private
from cloud.row_seal import RowSeal
from cloud.settings import HubSettings
from shared.clock import Clock
from shared.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """How browsers get in: the door, the pages before and behind it, and what ends sockets (`sessions.run`)."""

    door: DashboardDoor
    pages: list[APIRouter]
    sessions: Sessions


def people_of(ground: Ground, admin_token: str) -> People:
    """Raises `ConfigError` if the settings of the identity provider do not fit together."""
    return assemble(
        database=ground.database,
        identity=ground.identity,
        clock=ground.clock,
        settings=ground.settings,
        admin_token=admin_token,
        cost=Cost(),
        provider=_provider(ground.settings),
    )


def authenticator(ground: Ground) -> Authenticator:
    """For a process that knows API tokens, and no people."""
    seals = PeopleSeals(RowSeal(ground.identity.derive("rows")))
    return Authenticator(database=ground.database, seals=seals, clock=ground.clock)


def people_routers(
    people: People, *, database: Database, settings: HubSettings, clock: Clock
) -> list[APIRouter]:
    """The API about people, tenants and API tokens."""
    return [
        people_routes(
            database=database,
            settings=settings,
            clock=clock,
            seals=people.seals,
            passwords=people.passwords,
            totp=people.totp,
        ),
        token_sign_in_routes(sign_in=people.sign_in, settings=settings),
        tenant_routes(database=database, clock=clock),
        api_token_routes(database=database, settings=settings, clock=clock, seals=people.seals),
    ]


def entrance(people: People, *, clock: Clock) -> Entrance:
    """For a process with the fleet page."""
    sessions = Sessions(people.sessions)
    lifetime_s = people.sessions.lifetime_s
    ways = Ways(sign_in=people.sign_in, sessions=sessions, lifetime_s=lifetime_s, provider=people.oidc)
    return Entrance(
        door=DashboardDoor(sessions=sessions, clock=clock),
        pages=[
            sign_in_routes(ways),
            account_routes(
                account=people.account, stored=people.sessions, sessions=sessions, lifetime_s=lifetime_s
            ),
        ],
        sessions=sessions,
    )


def _provider(settings: HubSettings) -> IdentityProvider | None:
    if not settings.oidc_issuer:
        return None
    if not settings.oidc_client_id:
        raise ConfigError("The hub setting 'oidc_issuer' needs 'oidc_client_id' beside it; set both or none.")
    from cloud.adapters.oidc_authlib import AuthlibProvider, Client  # only where people sign in that way

    secret = None
    if settings.oidc_client_secret_file is not None:
        found = read_private(settings.oidc_client_secret_file)
        secret = None if found is None else found.decode("ascii", errors="replace").strip()
        if not secret:
            raise ConfigError(
                f"{settings.oidc_client_secret_file} holds no secret; correct 'oidc_client_secret_file'."
            )
    return AuthlibProvider(
        settings.oidc_issuer,
        Client(id=settings.oidc_client_id, secret=secret),
        ca_file=settings.oidc_ca_file,
    )
