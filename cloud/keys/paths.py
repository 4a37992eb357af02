"""Where the files of the hub's identity are. Names only."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from shared.keys import Purpose

NEXT: Final = ".next"
"""Behind the name of a private key that is about to take another's place."""
FORMER: Final = ".former"
"""Behind the name of one whose place was taken; destroyed after a grace."""

_SIGNING_KEYS: Final = {
    Purpose.ORDERS: "signing.key",
    Purpose.POLICY: "policy.key",
    Purpose.AUDIT: "audit.key",
}


@dataclass(frozen=True, slots=True)
class Paths:
    """The files of one directory."""

    directory: Path

    @property
    def root(self) -> Path:
        return self.directory / "root.pem"

    @property
    def root_key(self) -> Path:
        """May be away (`covey-hub keys export-root --remove`)."""
        return self.directory / "root.key"

    @property
    def ca(self) -> Path:
        """By whom peers are verified: the issuing authority that signs now comes first, the root last."""
        return self.directory / "ca.pem"

    @property
    def ca_key(self) -> Path:
        return self.directory / "ca.key"

    @property
    def former_authorities(self) -> Path:
        """Directory of issuing authorities that sign no more, with their keys while their revocation lists live."""
        return self.directory / "issuing"

    @property
    def server(self) -> Path:
        return self.directory / "server.pem"

    @property
    def server_key(self) -> Path:
        return self.directory / "server.key"

    @property
    def client(self) -> Path:
        return self.directory / "client.pem"

    @property
    def client_key(self) -> Path:
        return self.directory / "client.key"

    @property
    def signing_key(self) -> Path:
        return self.key_for(Purpose.ORDERS)

    @property
    def chain(self) -> Path:
        """The statements by which the signing keys follow one another (rule P23), one a line, in base64."""
        return self.directory / "keychain"

    @property
    def derived_key(self) -> Path:
        return self.directory / "derived.key"

    def key_for(self, purpose: Purpose) -> Path:
        """The signing key for `purpose` that counts now."""
        return self.directory / _SIGNING_KEYS[purpose]

    @property
    def secrets(self) -> list[Path]:
        """What `covey-hub keys encrypt` encrypts: all but the keys that Mosquitto and TLS read themselves."""
        signing = [self.key_for(purpose) for purpose in Purpose]
        beside = [
            path.with_name(path.name + end) for path in (*signing, self.ca_key) for end in (NEXT, FORMER)
        ]
        former = sorted(self.former_authorities.glob("*.key"))
        every = [self.root_key, self.ca_key, *signing, *beside, self.derived_key, *former]
        return [path for path in every if path.exists()]
