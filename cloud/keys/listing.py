"""Every key of the hub, as its files show it: for `covey-hub keys show` and the API. Blocking; opens no private key."""

from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from cloud.keys.authorities import is_first_layout
from cloud.keys.certificates import fingerprint, is_self_signed
from cloud.keys.key_files import certificates_in
from cloud.keys.paths import FORMER, Paths
from cloud.keys.schemas import KeyView
from cloud.keys.signing import read_chain
from cloud.keys.vault import is_sealed
from cloud.private_files import read_private
from shared.clock import from_ms
from shared.errors import ConfigError
from shared.keychain import KeyChain, Link, RootKey, revoked_by_root
from shared.keys import Purpose


def list_keys(paths: Paths) -> list[KeyView]:
    """From the root down, newest first of each kind. Raises `ConfigError` if certificates or chain are damaged."""
    believed = certificates_in(paths.ca)
    if not believed:
        raise ConfigError(f"There are no keys in {paths.directory} yet; the first start makes them.")
    root = next(iter(certificates_in(paths.root)), None) or next(
        (each for each in believed if is_self_signed(each)), None
    )
    if root is None:
        raise ConfigError(f"{paths.root} is missing; restore it from the backup of {paths.directory}.")
    is_first = is_first_layout(paths, root)
    views = [_of_certificate("root", root, paths.root, paths.ca_key if is_first else paths.root_key)]
    views.append(_of_certificate("issuing", believed[0], paths.ca, paths.ca_key))
    former = [(path, certificates_in(path)[0]) for path in paths.former_authorities.glob("*.pem")]
    for path, certificate in sorted(former, key=lambda each: each[1].not_valid_before_utc, reverse=True):
        views.append(_of_certificate("issuing", certificate, path, path.with_suffix(".key"), is_former=True))
    for name, path, key in (
        ("server", paths.server, paths.server_key),
        ("client", paths.client, paths.client_key),
    ):
        views.extend(_of_certificate(name, each, path, key) for each in certificates_in(path)[:1])
    public = root.public_key()
    if isinstance(public, ec.EllipticCurvePublicKey):
        chain = read_chain(paths, RootKey(public))
        for purpose in Purpose:
            views.extend(_of_signing_keys(paths, chain, purpose))
    return views


def _of_certificate(
    purpose: str, certificate: x509.Certificate, path: Path, key: Path, *, is_former: bool = False
) -> KeyView:
    return KeyView(
        purpose=purpose,
        state="former" if is_former else "current",
        fingerprint=fingerprint(certificate),
        number=None,
        since=certificate.not_valid_before_utc,
        until=certificate.not_valid_after_utc,
        file=path.name,
        is_private_here=key.exists(),
        is_encrypted=_is_encrypted(key),
    )


def _of_signing_keys(paths: Paths, chain: KeyChain, purpose: Purpose) -> list[KeyView]:
    views: list[KeyView] = []
    links = chain.of(purpose)
    replaced = revoked_by_root(chain)
    path = paths.key_for(purpose)
    for place, link in enumerate(links):
        successor: Link | None = links[place + 1] if place + 1 < len(links) else None
        key = path if successor is None else path.with_name(path.name + FORMER)
        # Of those that were replaced only the last may be there still.
        is_here = place >= len(links) - 2 and key.is_file()
        views.append(
            KeyView(
                purpose=purpose.value,
                state="current"
                if successor is None
                else ("replaced_by_root" if link.kid in replaced else "former"),
                fingerprint=link.kid.hex(),
                number=link.statement.number,
                since=from_ms(link.statement.at_ms),
                until=None if successor is None else _at(successor),
                file=key.name if is_here else paths.chain.name,
                is_private_here=is_here,
                is_encrypted=is_here and _is_encrypted(key),
            )
        )
    return list(reversed(views))


def _at(link: Link) -> datetime:
    return from_ms(link.statement.at_ms)


def _is_encrypted(path: Path) -> bool:
    data = read_private(path)
    return data is not None and is_sealed(data)
