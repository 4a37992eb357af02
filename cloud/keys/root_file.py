"""The root's private key on its way off the hub and back: one sealed file with the key and its certificate. Blocking.

It lies in a safe; what it is for is a new issuing authority, a new purpose for signing keys, and the emergency in which
a signing key was stolen.
"""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from cloud.keys.authorities import is_first_layout, load_authorities, root_key
from cloud.keys.certificates import fingerprint, pem_of
from cloud.keys.key_files import certificates_in, destroy, parse_key, private_pem
from cloud.keys.paths import Paths
from cloud.keys.vault import EXPORT_LOG2_N, Vault, sealed, unsealed
from cloud.private_files import read_private, write_private
from shared.errors import ConfigError, RefusedError


def export_root(
    paths: Paths,
    vault: Vault,
    target: Path,
    *,
    passphrase: bytes,
    removes: bool,
    log2_n: int = EXPORT_LOG2_N,
) -> str:
    """Write the root's key to `target`; returns its fingerprint. With `removes` it is destroyed here, after the file
    was read back. `log2_n`: what guessing the passphrase costs (`cloud.keys.vault`).

    Raises `RefusedError` if the key is not here, if `target` exists, or if a home of the first layout, whose root signs
    every certificate itself, is to lose it.
    """
    root = load_authorities(paths, vault).root
    key = root_key(paths, vault, root)
    if removes and is_first_layout(paths, root):
        raise RefusedError(
            "This hub's root still signs every certificate itself; make an issuing authority first"
            " (`covey-hub keys rotate issuing`).",
            code="root_in_use",
        )
    if target.exists():
        raise RefusedError(f"{target} exists; choose another name, so that no export is lost.", code="exists")
    content = private_pem(key) + pem_of(root)
    write_private(target, sealed(content, passphrase, log2_n=log2_n))
    if unsealed(read_private(target) or b"", passphrase, what=f"{target}") != content:
        raise ConfigError(f"{target} does not hold what was written; choose another medium.")
    if removes:
        remove_root(paths, key)
    return fingerprint(root)


def remove_root(paths: Paths, key: ec.EllipticCurvePrivateKey) -> None:
    """Destroy the root's private key, wherever a former layout left it too."""
    destroy(paths.root_key)
    for path in paths.former_authorities.glob("*.pem"):
        if certificates_in(path)[0].public_key() == key.public_key():
            destroy(path.with_suffix(".key"))


def import_root(paths: Paths, vault: Vault, source: Path, *, passphrase: bytes) -> str:
    """Bring the root's key back; returns its fingerprint.

    Raises `ConfigError` if the file is no export or the passphrase another, `RefusedError` if it is another hub's root.
    """
    data = read_private(source)
    if data is None:
        raise ConfigError(f"There is no file {source}.")
    content = unsealed(data, passphrase, what=f"{source}")
    key = parse_key(content, source)
    certificate = _certificate_in(content, source)
    root = load_authorities(paths, vault).root
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise ConfigError(f"{source} holds a key and a certificate that do not belong together.")
    if key.public_key() != root.public_key():
        raise RefusedError(f"{source} holds the root of another hub.", code="other_root")
    vault.write(paths.root_key, private_pem(key))
    return fingerprint(root)


def _certificate_in(content: bytes, source: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(content)
    except ValueError as error:
        raise ConfigError(f"{source} is no export of a root.") from error
