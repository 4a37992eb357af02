"""`covey-edge identity …`: look at the device's keys and certificate, renew it by hand, encrypt the keys."""

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.certificates import Described, describe, read_chain
from edge.credentials import Credentials
from edge.identity import Identity, load_identity
from edge.renewal_steps import renew_over_https
from edge.settings import EdgeSettings, load_settings
from shared.clock import Clock
from shared.errors import ConfigError, UnavailableError

identity_app = typer.Typer(help="This device's keys and certificate.", no_args_is_help=True)

Home = Annotated[Path | None, typer.Option("--home", help="The device's directory (default ~/.covey/edge).")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@identity_app.command("show")
def show(home: Home = None, as_json: Json = False) -> None:
    """Name, certificate, and whether the keys are encrypted. Tells no secret."""
    settings = _settings(home)
    identity = _enrolled(settings)
    credentials = Credentials(identity.files)
    certificate = describe(read_chain(credentials.present.certificate))
    renewed = credentials.renewed
    trial = None if renewed is None else describe(read_chain(renewed.certificate))
    encrypted = identity.files.is_encrypted()
    if as_json:
        told = {
            "device": str(identity.principal),
            "hub": identity.hub_url,
            "certificate": _told(certificate),
            "renewed_certificate": None if trial is None else _told(trial),
            "signing_key": identity.signer.kid.hex(),
            "has_sealing_key": identity.sealing is not None,
            "keys": {name: "encrypted" if each else "plain" for name, each in encrypted.items()},
        }
        print(json.dumps(told))
        return
    print(f"device        {identity.principal}, at {identity.hub_url}")
    print(f"certificate   {certificate.name}")
    print(f"              serial {certificate.serial}, by {certificate.issuer}")
    print(f"              valid {_span(certificate)}")
    if trial is not None:
        print(f"renewed       valid {_span(trial)}; in use once it has connected")
    print(f"signing key   {identity.signer.kid.hex()}")
    plain = ", ".join(name for name, each in encrypted.items() if not each)
    print(f"keys          {f'not encrypted: {plain}' if plain else 'encrypted'}")


@identity_app.command("renew")
def renew(home: Home = None, as_json: Json = False) -> None:
    """Get a new certificate from the hub now, over HTTPS; the device does so by itself at two thirds of its life."""
    from edge.wiring import SystemClock, hub_validity, renewal_post

    settings = _settings(home)
    identity = _enrolled(settings)
    clock: Clock = SystemClock()
    try:
        validity = renew_over_https(identity, renewal_post(identity), now=clock.now)
    except UnavailableError as error:
        if error.code != "clock":
            raise
        from edge.core.renewal import blame_a_clock

        raise UnavailableError(blame_a_clock(clock.now(), hub_validity(identity)), code=error.code) from error
    if as_json:
        print(json.dumps({"device": str(identity.principal), "not_after": validity.not_after.isoformat()}))
    else:
        print(
            f"Renewed until {validity.not_after:%Y-%m-%d %H:%M} UTC; the daemon connects with it within a minute."
        )


@identity_app.command("encrypt")
def encrypt(home: Home = None) -> None:
    """Encrypt the keys with the passphrase in the file that the setting identity_passphrase_file names."""
    settings = _settings(home)
    passphrase_file = _passphrase_file(settings)
    count = _enrolled(settings).files.rewrite(passphrase_file)
    print(f"{count} keys are encrypted; keep {passphrase_file} where a thief of this disk does not find it.")


@identity_app.command("decrypt")
def decrypt(home: Home = None) -> None:
    """Store the keys without a passphrase."""
    count = _enrolled(_settings(home)).files.rewrite(None)
    print(f"{count} keys are no longer encrypted; identity_passphrase_file may be taken out of edge.toml.")


@identity_app.command("change-passphrase")
def change_passphrase(
    new: Annotated[Path, typer.Option("--new-passphrase-file", help="A file with the new passphrase.")],
    home: Home = None,
) -> None:
    """Encrypt the keys with another passphrase, all of them or none."""
    settings = _settings(home)
    before = _passphrase_file(settings)
    count = _enrolled(settings).files.rewrite(new.absolute())
    print(f"{count} keys are encrypted anew; now put what is in {new} into {before}, or name {new} instead.")


def _settings(home: Path | None) -> EdgeSettings:
    return load_settings(home=home)[0]


def _enrolled(settings: EdgeSettings) -> Identity:
    identity = load_identity(settings.identity_dir, settings.identity_passphrase_file)
    if identity is None:
        raise ConfigError("This device is not enrolled; `covey-edge enroll` joins it to a hub.")
    return identity


def _passphrase_file(settings: EdgeSettings) -> Path:
    if settings.identity_passphrase_file is None:
        raise ConfigError(
            "There is no passphrase: let identity_passphrase_file name a file with one, in"
            f" {settings.home / 'edge.toml'}."
        )
    return settings.identity_passphrase_file


def _told(certificate: Described) -> dict[str, Any]:
    told = asdict(certificate)
    dates: dict[str, datetime] = told.pop("validity")
    return {**told, **{name: at.isoformat() for name, at in dates.items()}}


def _span(certificate: Described) -> str:
    dates = certificate.validity
    return f"{dates.not_before:%Y-%m-%d %H:%M} to {dates.not_after:%Y-%m-%d %H:%M} UTC"
