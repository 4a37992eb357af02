"""The parts that deal with people, put together: for `cloud.wiring`, and for tests with cheaper hashes."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta

from cloud.db import Database
from cloud.identity import Identity
from cloud.people.account import Account
from cloud.people.attempts import Attempts
from cloud.people.authenticate import Authenticator
from cloud.people.browser_sessions import BrowserSessions, SessionLimits
from cloud.people.oidc import AutoCreate, IdentityProvider, OidcSignIn
from cloud.people.passwords import Cost, Passwords
from cloud.people.seals import PeopleSeals
from cloud.people.sign_in import SignIn
from cloud.people.totp import TotpSecrets
from cloud.row_seal import RowSeal
from cloud.settings import HubSettings
from shared.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """`oidc` None: no identity provider is set."""

    seals: PeopleSeals
    passwords: Passwords
    totp: TotpSecrets
    authenticate: Authenticator
    sessions: BrowserSessions
    sign_in: SignIn
    account: Account
    oidc: OidcSignIn | None


def assemble(
    *,
    database: Database,
    identity: Identity,
    clock: Clock,
    settings: HubSettings,
    admin_token: str,
    cost: Cost,
    provider: IdentityProvider | None,
) -> People:
    """Opens nothing. `cost`: of password hashes."""
    root_credential = hashlib.sha256(admin_token.encode()).digest()
    seals = PeopleSeals(RowSeal(identity.derive("rows")), root_credential=root_credential)
    passwords, totp = Passwords(cost), TotpSecrets(identity.derive("totp"))
    attempts = Attempts(identity.derive("sign-in"))
    limits = SessionLimits(
        lifetime=timedelta(seconds=settings.dashboard_session_s),
        idle=timedelta(seconds=settings.dashboard_idle_s),
    )
    sessions = BrowserSessions(
        database=database, seals=seals, key=identity.derive("browser"), clock=clock, limits=limits
    )
    sign_in = SignIn(
        database=database,
        seals=seals,
        passwords=passwords,
        totp=totp,
        attempts=attempts,
        sessions=sessions,
        clock=clock,
        admin_token=admin_token,
        default_tenant=settings.tenant,
    )
    role = settings.oidc_auto_create_role
    oidc = None
    if provider is not None:
        oidc = OidcSignIn(
            provider=provider,
            label=settings.oidc_label,
            redirect_url=settings.oidc_return_url,
            key=identity.derive("oidc"),
            database=database,
            seals=seals,
            sign_in=sign_in,
            clock=clock,
            auto_create=None
            if role is None
            else AutoCreate(tenant=settings.oidc_auto_create_tenant or settings.tenant, role=role),
        )
    return People(
        seals=seals,
        passwords=passwords,
        totp=totp,
        authenticate=Authenticator(database=database, seals=seals, clock=clock),
        sessions=sessions,
        sign_in=sign_in,
        account=Account(
            database=database,
            seals=seals,
            passwords=passwords,
            attempts=attempts,
            sessions=sessions,
            sign_in=sign_in,
            token_life=timedelta(seconds=min(settings.api_token_ttl_s, settings.api_token_max_s)),
            clock=clock,
        ),
        oidc=oidc,
    )
