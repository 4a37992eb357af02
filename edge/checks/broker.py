"""Does the broker let this device in, fence it into its own topics, and bring it the hub's word?

Everything goes over connections of the doctor's own (`edge.adapters.probe_paho`), and what is published is empty and
on topics to which nobody listens (`shared.topics.probe_topic`): neither the daemon's session nor the hub is touched.
While the daemon has a connection nothing is tried: a device has one, and the newer would end it.
"""

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from edge.adapters.probe_paho import UNREACHABLE, Answer, Probe, ProbedBroker
from edge.checks.daemon import LINKED, PAUSED
from edge.checks.subject import Subject
from edge.identity import Identity
from shared.errors import ConfigError, CoveyError, ProtocolError
from shared.findings import Finding, fail, ok, warn
from shared.gate import Accepted, Expected, Rejected, admit
from shared.ids import EVERYONE, HUB, Principal
from shared.messages import HubStatus
from shared.topics import (
    FROM_HUB,
    HUB_KEYS,
    HUB_PROBE,
    HUB_STATUS,
    Channel,
    device_topic,
    every_device,
    probe_topic,
)

BROKER: Final = "broker"
ACL: Final = "acl"
HUB_NAME: Final = "hub"
KEYS_NAME: Final = "hub keys"
CONNECTED: Final = ("connected", LINKED)
STRANGER_RANDOM_BYTES: Final = 8
HEAR_TIMEOUT_S: Final = 1.0
LOOK_AT_THE_HUB: Final = "covey-hub doctor  # at the hub"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What came of listening. `refused`: the broker's no to one of the device's own topics, if it said so.

    `strange`: topics that are not for this device, from which something came. `word`: what the broker holds as the
    hub's last word on whether it is there. `keys`: the chain of the hub's keys that it holds.
    """

    refused: str | None
    strange: tuple[str, ...]
    word: bytes | None
    keys: bytes | None = None


def check(subject: Subject) -> Iterator[Finding]:
    identity = subject.identity
    if identity is None:
        return
    if identity.hub_keys is not None and identity.hub_keys.problem is not None:
        yield fail(KEYS_NAME, identity.hub_keys.problem, _start_daemon(subject))
    if subject.daemon is not None and subject.daemon["link"]["state"] in CONNECTED:
        # A broker that takes the certificate's name for the client id would end the daemon's connection for ours.
        yield ok(
            BROKER,
            f"The broker at {identity.broker.host}:{identity.broker.port} has let the daemon in; for a look of the"
            f" doctor's own say `{subject.command('link stop')}` first.",
        )
        return
    broker = ProbedBroker(
        host=identity.broker.host,
        port=identity.broker.port,
        ca=identity.ca_path,
        certificate=identity.certificate_path,
        key=identity.key_path,
        passphrase_file=identity.passphrase_file,
    )
    stranger = Principal(identity.principal.tenant, f"probe-{secrets.token_hex(STRANGER_RANDOM_BYTES)}")
    try:
        with Probe(broker) as probe:
            heard = _listen(probe, str(identity.principal))
        # A connection each: a broker may also refuse by ending it.
        answers = {topic: _speak(broker, topic) for topic in (probe_topic(str(stranger)), HUB_PROBE)}
    except CoveyError as error:
        yield _not_connected(subject, error)
        return
    yield ok(BROKER, f"The broker at {broker.host}:{broker.port} lets this device in, by mutual TLS.")
    yield judge_fence(heard, answers)
    yield judge_word(subject, identity, heard.word, heard.keys)


def judge_fence(heard: Heard, answers: Mapping[str, Answer]) -> Finding:
    """`answers`: to publishing where this device must not."""
    if heard.refused is not None:
        return fail(ACL, f"The broker refuses this device its own topics ({heard.refused}).", LOOK_AT_THE_HUB)
    if heard.strange:
        return fail(ACL, f"The broker lets this device hear others: {heard.strange[0]}.", LOOK_AT_THE_HUB)
    if allowed := [topic for topic, answer in answers.items() if not answer.is_refused]:
        return fail(
            ACL, f"The broker lets this device speak in another's name, on {allowed[0]}.", LOOK_AT_THE_HUB
        )
    reasons = "; ".join(sorted({answer.reason for answer in answers.values()}))
    return ok(ACL, f"The broker refuses this device other topics than its own ({reasons}).")


def judge_word(
    subject: Subject, identity: Identity, word: bytes | None, keys: bytes | None = None
) -> Finding:
    """`keys`: the chain that the broker holds. It is followed, and not stored: that is the daemon's."""
    if word is None:
        return warn(
            HUB_NAME,
            "The broker holds no word of the hub: it never was connected there, or this device may not hear it.",
            LOOK_AT_THE_HUB,
        )
    expected = Expected(message=HubStatus, issuer=HUB, audience=EVERYONE, needs_session=False)
    match admit(word, expected, identity.trust):
        case Rejected(reason):
            try:
                is_by_successor = (
                    identity.hub_keys is not None
                    and keys is not None
                    and isinstance(admit(word, expected, identity.hub_keys.trust_by(keys)), Accepted)
                )
            except (ProtocolError, ConfigError) as error:
                return fail(
                    HUB_NAME,
                    f"The chain of the hub's keys at the broker is refused: {error}",
                    LOOK_AT_THE_HUB,
                )
            if is_by_successor:
                return warn(
                    HUB_NAME,
                    "The hub's keys were rotated while this device was off, or its copy of them was lost; the daemon"
                    " follows them when it connects.",
                    _start_daemon(subject),
                )
            return fail(
                HUB_NAME,
                f"What the broker tells of the hub is signed with no key that this device trusts ({reason.value}).",
                LOOK_AT_THE_HUB,
            )
        case Accepted(HubStatus(online=True), _):
            return ok(
                HUB_NAME,
                "The hub is connected to the broker, and signs with the key that this device trusts.",
            )
        case Accepted():
            return warn(
                HUB_NAME,
                "The hub is not connected to the broker; this device works on, and syncs when it is back.",
                LOOK_AT_THE_HUB,
            )


def _listen(probe: Probe, principal: str) -> Heard:
    """Ask for every device's state, which is retained, then for what is ours, and last for the hub's retained word.

    When that has come, or does not come in time, all that the broker holds for us has come before.
    """
    probe.subscribe(every_device(Channel.STATE))
    own = [device_topic(principal, channel) for channel in FROM_HUB]
    own_answers = [probe.subscribe(topic) for topic in own]
    probe.subscribe(HUB_KEYS)  # whether it comes shows below
    answers = [*own_answers, probe.subscribe(HUB_STATUS)]
    refused = next((answer.reason for answer in answers if answer.is_refused), None)
    strange: list[str] = []
    word: bytes | None = None
    keys: bytes | None = None
    while word is None and (message := probe.hear(timeout_s=HEAR_TIMEOUT_S)) is not None:
        topic, payload = message
        if topic == HUB_STATUS:
            word = payload
        elif topic == HUB_KEYS:
            keys = payload
        elif topic not in (*own, device_topic(principal, Channel.STATE)):
            strange.append(topic)
    return Heard(refused=refused, strange=tuple(strange), word=word, keys=keys)


def _start_daemon(subject: Subject) -> str:
    """A daemon that runs without a connection is one whose link was stopped, or will follow by itself."""
    return subject.command("run" if subject.daemon is None else "status")


def _speak(broker: ProbedBroker, topic: str) -> Answer:
    with Probe(broker) as probe:
        return probe.publish(topic)


def _not_connected(subject: Subject, error: CoveyError) -> Finding:
    if error.code == UNREACHABLE:
        is_meant = subject.daemon is not None and subject.daemon["link"]["state"] == PAUSED
        hub = "" if subject.hub is None else "; the hub itself answers over HTTPS"
        sentence = f"{str(error).rstrip('.')}{hub}: check the network, and the broker at the hub."
        return (warn if is_meant else fail)(BROKER, sentence, LOOK_AT_THE_HUB)
    return fail(BROKER, str(error), subject.enrol_again)
