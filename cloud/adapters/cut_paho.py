"""Ending a device's live session at the broker by taking it over, over paho-mqtt. Everything blocks.

MQTT ends a session when another connection takes its client id (MQTT 5, section 3.1.4), and on the devices' listener
the client id is the certificate's common name, whatever a client claims (`use_username_as_clientid`). So the hub, which
is the authority, makes a certificate in that name for two minutes, connects once with it and leaves: of all that
brokers have in common that is the one way which does not ask the device to cooperate. Nobody's inbox is opened: it
subscribes to nothing and says nothing, and the key is gone afterwards.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cloud.adapters.probe_paho import Probe, ProbedBroker, Shown
from cloud.identity import Identity
from cloud.private_files import write_private
from shared.clock import Clock
from shared.enrolment import BrokerAddress
from shared.ids import Principal

CERTIFICATE_LIFE: Final = timedelta(minutes=2)


class SessionTakeover:
    """Cuts sessions at one broker. `broker` is the listener that devices use."""

    def __init__(self, *, identity: Identity, broker: BrokerAddress, clock: Clock) -> None:
        self._identity = identity
        self._broker = broker
        self._clock = clock

    def cut(self, principal: str) -> None:
        """End the session of `principal`, if it has one.

        Raises `UnavailableError` if the broker is not there, `RefusedError` if it does not let us in, `ConfigError` if
        the authority's certificate cannot be read.
        """
        with certificate_in_the_name_of(self._identity, principal, clock=self._clock) as shown:
            broker = ProbedBroker(
                host=self._broker.host, port=self._broker.port, ca=self._identity.paths.ca, shown=shown
            )
            with Probe(broker, client_id=principal):
                pass  # connected is all that it takes


@contextmanager
def certificate_in_the_name_of(
    identity: Identity,
    principal: str,
    *,
    clock: Clock,
    life: timedelta = CERTIFICATE_LIFE,
    serial: int | None = None,
) -> Iterator[Shown]:
    """Files of a certificate for `principal` and of its key, as long as the block lasts."""
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    made = identity.certify_device(csr, Principal.parse(principal), now=clock.now(), life=life, serial=serial)
    with tempfile.TemporaryDirectory(prefix="covey-") as directory:
        shown = Shown(Path(directory) / "name.pem", Path(directory) / "name.key")
        write_private(shown.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        write_private(shown.certificate, made.pem.encode())
        yield shown
