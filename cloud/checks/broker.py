"""Is the broker reachable for the hub, closed to strangers, and does it fence devices into their own topics?

Everything goes over connections of the doctor's own (`cloud.adapters.probe_paho`), on topics to which nobody listens
(`shared.topics.probe_topic`) or with messages that the hub's workers pass over (`shared.topics.is_probe`). The device
whose fence is tried is none: a certificate of a few minutes under a name that nobody has, which is in no database, and
whose key is gone when the check ends.
"""

import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cloud.adapters.probe_paho import UNREACHABLE, Answer, Probe, ProbedBroker, Shown
from cloud.checks.subject import Subject
from cloud.identity import Identity
from cloud.private_files import write_private
from shared.errors import CoveyError, RefusedError
from shared.findings import Finding, fail, ok, warn
from shared.ids import Principal
from shared.topics import (
    FROM_DEVICE,
    FROM_HUB,
    HUB_PROBE,
    HUB_STATUS,
    PROBE_PREFIX,
    Channel,
    device_topic,
    every_device,
    probe_topic,
)

BROKER: Final = "broker"
STRANGERS: Final = "broker strangers"
ACL: Final = "acl"
STRANGER_RANDOM_BYTES: Final = 8
STRANGER_LIFE: Final = timedelta(minutes=10)
HEAR_TIMEOUT_S: Final = 1.0
ACL_HINT: Final = "give it the ACL of deploy/mosquitto and have it read that again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What a device without rights met. `refused`: the broker's no to one of its own topics, and to which.

    `deaf_to`: its own topics on which it did not hear the hub. `strange`: topics that are not for it, from which
    something came. `spoken`: answers to publishing where it must not.
    """

    refused: str | None
    deaf_to: Sequence[str]
    strange: Sequence[str]
    spoken: Mapping[str, Answer]


def check(subject: Subject) -> Iterator[Finding]:
    if subject.identity is None:
        yield warn(BROKER, "Without the hub's keys the broker cannot be looked at.")
        return
    paths = subject.identity.paths
    broker = _broker(subject, Shown(paths.client, paths.client_key))
    try:
        yield judge_round_trip(broker, _round_trip(broker))
    except CoveyError as error:
        yield _not_connected(subject, error)
        return
    yield judge_stranger(_stranger_gets_in(_broker(subject, None)))
    with _throw_away(subject.identity, subject.settings.tenant, now=subject.clock.now()) as (name, shown):
        yield judge_fence(_try_fence(broker, _broker(subject, shown), name))


def judge_round_trip(broker: ProbedBroker, trip: Answer | float | None) -> Finding:
    """`trip`: seconds there and back, None if nothing came back, or the broker's no."""
    if isinstance(trip, Answer):
        return fail(BROKER, f"The broker refuses the hub its own topics ({trip.reason}): {ACL_HINT}.")
    if trip is None:
        return fail(BROKER, f"The broker brings the hub none of its own messages: {ACL_HINT}.")
    return ok(
        BROKER,
        f"The broker at {broker.host}:{broker.port} lets the hub in, by mutual TLS; there and back"
        f" {trip * 1_000:.0f} ms.",
    )


def judge_stranger(gets_in: bool) -> Finding:
    if gets_in:
        return fail(
            STRANGERS,
            "The broker lets in who shows no certificate: set `require_certificate true` and `allow_anonymous false`.",
        )
    return ok(STRANGERS, "The broker lets nobody in without a certificate.")


def judge_fence(tried: Tried) -> Finding:
    if tried.refused is not None:
        return fail(ACL, f"The broker refuses devices their own topics ({tried.refused}): {ACL_HINT}.")
    if tried.deaf_to:
        return fail(
            ACL, f"The broker does not bring devices what the hub says on {tried.deaf_to[0]}: {ACL_HINT}."
        )
    if tried.strange:
        return fail(ACL, f"The broker lets a device hear others, {tried.strange[0]}: {ACL_HINT}.")
    if allowed := [topic for topic, answer in tried.spoken.items() if not answer.is_refused]:
        return fail(ACL, f"The broker lets a device speak in another's name, on {allowed[0]}: {ACL_HINT}.")
    reasons = "; ".join(sorted({answer.reason for answer in tried.spoken.values()}))
    return ok(ACL, f"The broker refuses a device other topics than its own ({reasons}).")


def _round_trip(broker: ProbedBroker) -> Answer | float | None:
    """From publishing as the hub to hearing it (`judge_round_trip`)."""
    with Probe(broker) as probe:
        probe.subscribe(HUB_PROBE)
        begun = monotonic()
        answer = probe.publish(HUB_PROBE)
        if answer.is_refused:
            return answer
        heard = probe.hear(timeout_s=HEAR_TIMEOUT_S)
        return None if heard is None else monotonic() - begun


def _stranger_gets_in(broker: ProbedBroker) -> bool:
    try:
        with Probe(broker):
            return True
    except RefusedError:
        return False


def _try_fence(hub: ProbedBroker, device: ProbedBroker, name: Principal) -> Tried:
    other = Principal(name.tenant, f"{name.device}-other")
    read = [device_topic(str(name), channel) for channel in FROM_HUB]
    written = [device_topic(str(name), channel) for channel in FROM_DEVICE]
    with Probe(device) as probe:
        # Every device's state is retained: who may not be told of it must not hear it now.
        probe.subscribe(every_device(Channel.STATE))
        answers = {topic: probe.subscribe(topic) for topic in (*read, HUB_STATUS)}
        strange: list[str] = []
        # The hub's word is retained too, and comes last.
        while (heard := probe.hear(timeout_s=HEAR_TIMEOUT_S)) is not None and heard[0] != HUB_STATUS:
            strange.append(heard[0])
        # Mosquitto before 2.1 grants what it then does not deliver: only what is heard is allowed.
        with Probe(hub) as speaking:
            for topic in read:
                speaking.publish(topic)
        unheard = set(read)
        while unheard and (heard := probe.hear(timeout_s=HEAR_TIMEOUT_S)) is not None:
            unheard.discard(heard[0])
        answers |= {topic: probe.publish(topic) for topic in written}
    spoken = {}
    for topic in (probe_topic(str(other)), HUB_PROBE):
        # A connection each: a broker may also refuse by ending it.
        with Probe(device) as probe:
            spoken[topic] = probe.publish(topic)
    refused = next(
        (f"{topic}: {answer.reason}" for topic, answer in answers.items() if answer.is_refused), None
    )
    deaf_to = [topic for topic in read if topic in unheard]
    return Tried(refused=refused, deaf_to=deaf_to, strange=strange, spoken=spoken)


@contextmanager
def _throw_away(identity: Identity, tenant: str, *, now: datetime) -> Iterator[tuple[Principal, Shown]]:
    """A name that nobody has, and a certificate for it, as long as the block lasts."""
    name = Principal(tenant, f"{PROBE_PREFIX}{secrets.token_hex(STRANGER_RANDOM_BYTES)}")
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    made = identity.certify_device(csr, name, now=now, life=STRANGER_LIFE)
    with tempfile.TemporaryDirectory(prefix="covey-doctor-") as directory:
        shown = Shown(Path(directory) / "probe.pem", Path(directory) / "probe.key")
        write_private(shown.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        write_private(shown.certificate, made.pem.encode())
        yield name, shown


def _broker(subject: Subject, shown: Shown | None) -> ProbedBroker:
    return ProbedBroker(
        host=subject.broker.host,
        port=subject.broker.port,
        ca=subject.settings.identity_directory / "ca.pem",
        shown=shown,
    )


def _not_connected(subject: Subject, error: CoveyError) -> Finding:
    if error.code != UNREACHABLE:
        return fail(BROKER, str(error))
    if subject.has_own_broker and not subject.is_running:
        return warn(
            BROKER, f"{str(error).rstrip('.')}: the hub starts its broker with itself.", subject.start
        )
    if subject.has_own_broker:
        return fail(
            BROKER, f"{str(error).rstrip('.')}: the hub starts it again; see its log for why it ends."
        )
    return fail(
        BROKER, f"{str(error).rstrip('.')}: start it, or correct mqtt_url.", "systemctl status mosquitto"
    )
