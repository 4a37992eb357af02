"""`covey-hub user …`, `tenant …`, `api-token …`, `sign-in`, `whoami`: who may use the hub.

Passwords and codes are asked for at the terminal or read from a file, never taken from the command line, where every
account of the machine would see them.
"""

import re
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from cloud.caller import Role
from cloud.cli import show
from cloud.cli.client import HubClient, segment
from cloud.cli.options import AsJson, connection, seconds
from cloud.people.schemas import (
    PASSWORD_MAX_BYTES,
    USER_NAME_PATTERN,
    ApiTokenView,
    ConfirmTotp,
    CreateApiToken,
    CreatedApiToken,
    CreateTenant,
    CreateUser,
    SetPassword,
    SetRole,
    SignInForToken,
    TenantView,
    TotpEnrolment,
    UserPage,
    UserView,
    WhoAmI,
)
from cloud.private_files import make_private_directory, write_private
from cloud.settings import find_home
from shared.errors import ConfigError

PAGE_ROWS: Final = 500
STANDARD_INPUT: Final = "-"
SIGN_IN_DIRECTORY: Final = "sign-in"
"""In the home directory: the tokens of people who signed in."""

users = typer.Typer(help="People who use the hub.", no_args_is_help=True)
tenants = typer.Typer(help="Tenants: borders between devices, people and tasks.", no_args_is_help=True)
api_tokens = typer.Typer(help="Credentials of programs.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The user's name.")]
Tenant = Annotated[str, typer.Option(help="The tenant; '*' is all of them: an administrator of the hub.")]
PasswordFile = Annotated[
    str | None, typer.Option(help="File with the password on its first line; - for standard input.")
]


def whoami(context: typer.Context, as_json: AsJson = False) -> None:
    """Show for whom the hub takes you, and what you may do."""
    with HubClient(connection(context)) as hub:
        me = hub.get(WhoAmI, "/v1/me")
    if as_json:
        show.as_json(me)
    else:
        where = "all tenants" if me.tenant is None else f"tenant {me.tenant}"
        whose = f" of {me.person}" if me.person else ""
        typer.echo(f"{me.name}{whose} in {where}: {', '.join(me.permissions)}")


def sign_in(
    context: typer.Context,
    name: Name,
    tenant: Annotated[str | None, typer.Option(help="For which tenant; '*' is all.")] = None,
    role: Annotated[
        Role | None, typer.Option(help="No more than you may: viewer, operator, author or admin.")
    ] = None,
    ttl: Annotated[str | None, typer.Option(help="How long it is good for: 90s, 30m, 1h, 7d.")] = None,
    password_file: Annotated[
        str | None,
        typer.Option(help="File with the password, and the code on a second line; - for standard input."),
    ] = None,
    from_page: Annotated[
        bool,
        typer.Option(
            "--from-page",
            help="Take the token that your account page (/dashboard/account) shows, if you have no password here.",
        ),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Where to keep the token.")] = None,
    as_json: AsJson = False,
) -> None:
    """Get an API token of your own, for your password and code, and print the file that holds it.

    Use it with --token-file or COVEY_HUB_TOKEN_FILE. What you do with it you do as yourself.
    """
    name = name.strip().lower()
    if re.fullmatch(USER_NAME_PATTERN, name) is None:
        raise ConfigError(f"{name!r} is not the name of a user; see `covey-hub user list`.")
    if from_page:
        if (tenant, role, ttl) != (None, None, None):
            raise ConfigError("Tenant, role and life of a token from the page are what the page gave it.")
        text = _pasted(password_file)
        with HubClient(connection(context), token=text) as hub:
            me = hub.get(WhoAmI, "/v1/me")
        if me.person != name:
            raise ConfigError(f"That is not a token of {name}; get one at your own account page.")
        kept = _keep(context, name, text, out)
        if as_json:
            show.as_json(me)
        else:
            typer.echo(kept)
        return
    if password_file is None:
        password = typer.prompt("Password", hide_input=True, err=True)
        code = typer.prompt("Code (empty if you have none)", default="", show_default=False, err=True)
    else:
        password, code = _lines(password_file, 2)
    request = SignInForToken.model_validate(
        {
            "name": name,
            "password": password,
            "code": code,
            "tenant": tenant,
            "role": role,
            "ttl_s": None if ttl is None else seconds(ttl, "--ttl"),
        }
    )
    with HubClient(connection(context), has_token=False) as hub:
        created = hub.post(CreatedApiToken, "/v1/sign-in", request)
    if as_json:
        show.as_json(created)
        return
    typer.echo(_keep(context, name, created.token, out))


@users.command("create")
def create_user(
    context: typer.Context,
    name: Name,
    tenant: Annotated[str | None, typer.Option(help="Tenant of the first role; '*' is all.")] = None,
    role: Annotated[Role | None, typer.Option(help="The first role.")] = None,
    password_file: PasswordFile = None,
    oidc_subject: Annotated[
        str | None,
        typer.Option(help="Who the user is at the identity provider; then no password is asked for."),
    ] = None,
    oidc_issuer: Annotated[
        str | None, typer.Option(help="The identity provider, if not the one of the settings.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a user. The password is asked for, unless a file or an identity provider is named."""
    password = None
    if password_file is not None or oidc_subject is None:
        password = _password(password_file)
    request = CreateUser.model_validate(
        {
            "name": name,
            "password": password,
            "tenant": tenant,
            "role": role,
            "oidc_subject": oidc_subject,
            "oidc_issuer": oidc_issuer,
        }
    )
    with HubClient(connection(context)) as hub:
        _show_user(hub.post(UserView, "/v1/users", request), as_json=as_json)


@users.command("list")
def list_users(context: typer.Context, as_json: AsJson = False) -> None:
    """Show all users that you may see."""
    found: list[UserView] = []
    after: str | None = ""
    with HubClient(connection(context)) as hub:
        while after is not None:
            page = hub.get(UserPage, "/v1/users", {"after": after, "limit": PAGE_ROWS})
            found += page.users
            after = page.next
    if as_json:
        show.as_json(found)
    else:
        show.table(show.users(found))


@users.command("show")
def show_user(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show a user's roles and ways to sign in."""
    with HubClient(connection(context)) as hub:
        _show_user(hub.get(UserView, _user_path(name)), as_json=as_json)


@users.command("disable")
def disable_user(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Let nobody in with this name, nor with API tokens that it made; sessions end."""
    with HubClient(connection(context)) as hub:
        _show_user(hub.post(UserView, f"{_user_path(name)}/disable"), as_json=as_json)


@users.command("enable")
def enable_user(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Let a disabled user in again."""
    with HubClient(connection(context)) as hub:
        _show_user(hub.post(UserView, f"{_user_path(name)}/enable"), as_json=as_json)


@users.command("delete")
def delete_user(context: typer.Context, name: Name) -> None:
    """Remove a user with its roles and sessions; API tokens that it made are revoked."""
    with HubClient(connection(context)) as hub:
        hub.remove(_user_path(name))


@users.command("set-password")
def set_password(
    context: typer.Context, name: Name, password_file: PasswordFile = None, as_json: AsJson = False
) -> None:
    """Give a user another password; sessions end."""
    request = SetPassword.model_validate({"password": _password(password_file)})
    with HubClient(connection(context)) as hub:
        _show_user(hub.put(UserView, f"{_user_path(name)}/password", request), as_json=as_json)


@users.command("grant")
def grant(
    context: typer.Context,
    name: Name,
    role: Annotated[Role, typer.Option(help="viewer, operator, author or admin.")],
    tenant: Tenant,
    as_json: AsJson = False,
) -> None:
    """Give a user this role in a tenant, instead of another that it has there; sessions end."""
    with HubClient(connection(context)) as hub:
        user = hub.put(UserView, _role_path(name, tenant), SetRole(role=role))
    _show_user(user, as_json=as_json)


@users.command("revoke")
def revoke(context: typer.Context, name: Name, tenant: Tenant) -> None:
    """Take a user's role in a tenant away; sessions end."""
    with HubClient(connection(context)) as hub:
        hub.remove(_role_path(name, tenant))


@users.command("totp")
def enrol_totp(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Ask this user for a code at each sign-in: shows the secret once, then wants the first code."""
    with HubClient(connection(context)) as hub:
        path = f"{_user_path(name)}/totp"
        enrolment = hub.post(TotpEnrolment, path)
        _show_secret(enrolment)
        code = typer.prompt("The code that the app shows now", err=True)
        confirmation = ConfirmTotp(ticket=enrolment.ticket, code=code.strip().replace(" ", ""))
        _show_user(hub.put(UserView, path, confirmation), as_json=as_json)


@users.command("totp-reset")
def reset_totp(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Ask for no code any more: for somebody who lost the device that makes them."""
    with HubClient(connection(context)) as hub:
        _show_user(hub.delete(UserView, f"{_user_path(name)}/totp"), as_json=as_json)


@tenants.command("create")
def create_tenant(
    context: typer.Context, name: Annotated[str, typer.Argument()], as_json: AsJson = False
) -> None:
    """Make a tenant."""
    with HubClient(connection(context)) as hub:
        made = hub.post(TenantView, "/v1/tenants", CreateTenant(name=name))
    if as_json:
        show.as_json(made)
    else:
        show.table(show.tenants([made]))


@tenants.command("list")
def list_tenants(context: typer.Context, as_json: AsJson = False) -> None:
    """Show all tenants."""
    with HubClient(connection(context)) as hub:
        found = hub.get_list(TenantView, "/v1/tenants")
    if as_json:
        show.as_json(found)
    else:
        show.table(show.tenants(found))


@tenants.command("delete")
def delete_tenant(context: typer.Context, name: Annotated[str, typer.Argument()]) -> None:
    """Remove a tenant that has nothing any more."""
    with HubClient(connection(context)) as hub:
        hub.remove(f"/v1/tenants/{segment(name)}")


@api_tokens.command("create")
def create_api_token(
    context: typer.Context,
    label: Annotated[str, typer.Option(help="What it is for.")],
    role: Annotated[Role, typer.Option(help="viewer, operator, author or admin.")],
    tenant: Annotated[str | None, typer.Option(help="For which tenant; '*' is all.")] = None,
    ttl: Annotated[str | None, typer.Option(help="How long it is good for: 90s, 30m, 1h, 7d.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print a token for a program, this once. Use it as bearer token, or with --token-file."""
    request = CreateApiToken(
        label=label, role=role, tenant=tenant, ttl_s=None if ttl is None else seconds(ttl, "--ttl")
    )
    with HubClient(connection(context)) as hub:
        created = hub.post(CreatedApiToken, "/v1/api-tokens", request)
    if as_json:
        show.as_json(created)
    else:
        typer.echo(created.token)


@api_tokens.command("list")
def list_api_tokens(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the newest tokens, without their secrets."""
    with HubClient(connection(context)) as hub:
        found = hub.get_list(ApiTokenView, "/v1/api-tokens")
    if as_json:
        show.as_json(found)
    else:
        show.table(show.api_tokens(found))


@api_tokens.command("revoke")
def revoke_api_token(
    context: typer.Context,
    token_id: Annotated[str, typer.Argument(metavar="ID")],
    as_json: AsJson = False,
) -> None:
    """Let nobody in with this token any more, nor with tokens that were made with it."""
    with HubClient(connection(context)) as hub:
        revoked = hub.delete(ApiTokenView, f"/v1/api-tokens/{segment(token_id)}")
    if as_json:
        show.as_json(revoked)
    else:
        show.table(show.api_tokens([revoked]))


def _keep(context: typer.Context, name: str, token: str, out: Path | None) -> Path:
    path = out
    if path is None:
        directory = find_home(connection(context).home) / SIGN_IN_DIRECTORY
        make_private_directory(directory)
        path = directory / f"{name}.token"
    write_private(path, token.encode())
    return path


def _pasted(file: str | None) -> str:
    """A token, asked for or from a file's first line. Raises `ConfigError` for what is none."""
    text = typer.prompt("Token", hide_input=True, err=True) if file is None else _lines(file, 1)[0]
    text = text.strip()
    if re.fullmatch(r"covey1t\.[a-z2-7]{16}\.[A-Za-z0-9_-]{43}", text) is None:
        raise ConfigError("That is not a whole token: one begins with covey1t. and is copied as it stands.")
    return str(text)


def _user_path(name: str) -> str:
    return f"/v1/users/{segment(name)}"


def _role_path(name: str, tenant: str) -> str:
    return f"{_user_path(name)}/roles/{segment(tenant)}"


def _show_user(user: UserView, *, as_json: bool) -> None:
    if as_json:
        show.as_json(user)
    else:
        show.table(show.users([user]))


def _password(file: str | None) -> str:
    """Asked for twice at the terminal, or the first line of a file. Raises `ConfigError`."""
    if file is None:
        answer: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return answer
    return _lines(file, 1)[0]


def _lines(file: str, count: int) -> list[str]:
    """The first lines, empty where there are fewer. Raises `ConfigError`."""
    try:
        if file == STANDARD_INPUT:
            raw = [sys.stdin.buffer.readline(PASSWORD_MAX_BYTES * 2) for _ in range(count)]
        else:
            with Path(file).open("rb") as opened:
                raw = [opened.readline(PASSWORD_MAX_BYTES * 2) for _ in range(count)]
        return [line.decode("utf-8").rstrip("\r\n") for line in raw]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read as a password; make it a readable UTF-8 file.") from error


def _show_secret(enrolment: TotpEnrolment) -> None:
    """To a person at the terminal: standard output stays for the result."""
    import segno  # only here

    typer.echo("Scan this with an authenticator app; it is shown this once:", err=True)
    segno.make(enrolment.uri, error="m").terminal(out=sys.stderr, compact=True)
    typer.echo(f"Or type the secret in: {enrolment.secret}", err=True)
