"""The device's doctor on the broker, at a real Mosquitto: let in, fenced in, told of the hub, and nothing disturbed."""

import os
import queue
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from cloud.adapters.broker_mosquitto import BrokerFiles, render
from cloud.adapters.clock_system import SystemClock
from cloud.identity import Identity as HubIdentity
from cloud.identity import Paths, open_identity
from cloud.keys.rotation import KeyRotation
from cloud.keys.vault import Vault as HubVault
from edge.adapters.probe_paho import Answer
from edge.checks import broker as broker_check
from edge.checks.broker import ACL, BROKER, HUB_NAME, Heard
from edge.checks.subject import Subject
from edge.identity import load_identity
from edge.keychain import KEYCHAIN
from shared.findings import Finding, State
from shared.gate import close
from shared.ids import EVERYONE, HUB
from shared.keys import Signer
from shared.messages import HubStatus
from shared.topics import HUB_KEYS, HUB_STATUS, Channel, device_topic
from tests.support.broker import Mosquitto
from tests.support.device import signer_from
from tests.support.enrolled import enrol_at
from tests.support.ports import free_port
from tests.support.revocation import empty_list

REFUSED, GRANTED = Answer(True, "Not authorized"), Answer(False, "Success")
WAIT_S = 10.0
Change = Callable[[str], str]


def same(text: str) -> str:
    return text


class Site:
    """A broker with the hub's own configuration, and an enrolled device."""

    def __init__(self, identity: HubIdentity, port: int, hub_port: int, subject: Subject) -> None:
        self.identity = identity
        self.port = port
        self.hub_port = hub_port
        self.subject = subject

    def found(self) -> dict[str, Finding]:
        return {each.name: each for each in broker_check.check(self.subject)}

    def say_as_hub(self, *, online: bool, signer: Signer | None = None) -> None:
        word = close(
            HubStatus(online=online, epoch=bytes(16)),
            issuer=HUB,
            audience=EVERYONE,
            message_id=os.urandom(16),
            signer=signer or self.identity.signer,
        )
        self.publish(HUB_STATUS, word)

    def publish(self, topic: str, payload: bytes) -> None:
        """Retained, as the hub."""
        with self.as_hub() as client:
            client.publish(topic, payload, qos=1, retain=True).wait_for_publish(WAIT_S)

    @contextmanager
    def as_hub(self) -> Iterator[mqtt.Client]:
        paths = self.identity.paths
        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        context = ssl.create_default_context(cafile=str(paths.ca))
        context.load_cert_chain(paths.client, paths.client_key)
        client.tls_set_context(context)
        client.connect("localhost", self.hub_port)
        client.loop_start()
        try:
            yield client
        finally:
            client.disconnect()
            client.loop_stop()


MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(alone: Subject, tmp_path: Path) -> Iterator[MakeSite]:
    with ExitStack() as stack:

        def make(*, configuration: Change = same, acl: Change = same) -> Site:
            now = SystemClock().now()
            identity = open_identity(
                tmp_path / "hub", hosts=["localhost"], trust_domain="covey.internal", now=now
            )
            directory = tmp_path / "broker"
            directory.mkdir()
            files = BrokerFiles(
                directory=directory,
                address="127.0.0.1",
                port=free_port(),
                hub_port=free_port(),
                crl=empty_list(identity, directory / "revoked.pem"),
                ca=identity.paths.ca,
                certificate=identity.paths.server,
                key=identity.paths.server_key,
            )
            conf, rules = render(files, account="root")
            (directory / "mosquitto.conf").write_text(configuration(conf))
            (directory / "acl").write_text(acl(rules))
            (directory / "acl").chmod(0o600)
            stack.enter_context(Mosquitto(directory / "mosquitto.conf", port=files.port))
            own = enrol_at(identity, alone.settings.identity_dir, now=now, broker_port=files.port)
            return Site(
                identity, files.port, files.hub_port, replace(alone, identity=own, clock=SystemClock())
            )

        yield make


# --- at a real broker


@pytest.mark.broker
def test_an_enrolled_device_is_let_in_fenced_in_and_told_of_the_hub(make_site: MakeSite) -> None:
    site = make_site()
    site.say_as_hub(online=True)
    found = site.found()
    assert {name: each.state for name, each in found.items()} == {
        BROKER: State.OK,
        ACL: State.OK,
        HUB_NAME: State.OK,
    }
    assert "Not authorized" in found[ACL].sentence


@pytest.mark.broker
def test_the_hub_hears_nothing_of_a_doctor_s_visit(make_site: MakeSite) -> None:
    site = make_site()
    heard: queue.SimpleQueue[str] = queue.SimpleQueue()
    site.say_as_hub(online=True)
    with site.as_hub() as hub:
        subscribed: queue.SimpleQueue[None] = queue.SimpleQueue()
        hub.on_subscribe = lambda *_: subscribed.put(None)
        hub.on_message = lambda _client, _data, message: heard.put(message.topic)
        hub.subscribe("covey/1/d/#", qos=1)
        subscribed.get(timeout=WAIT_S)
        site.found()
        last = device_topic("main.last", Channel.STATE)
        site.publish(last, b"x")
        assert heard.get(timeout=WAIT_S) == last


@pytest.mark.broker
def test_a_hub_that_is_away_or_never_was_there_is_told(make_site: MakeSite) -> None:
    site = make_site()
    assert site.found()[HUB_NAME].state is State.WARN
    site.say_as_hub(online=False)
    found = site.found()[HUB_NAME]
    assert found.state is State.WARN
    assert "not connected" in found.sentence


@pytest.mark.broker
def test_a_hub_with_another_key_is_seen(make_site: MakeSite) -> None:
    site = make_site()
    site.say_as_hub(online=True, signer=signer_from("another hub"))
    found = site.found()[HUB_NAME]
    assert found.state is State.FAIL
    assert found.command == broker_check.LOOK_AT_THE_HUB


@pytest.mark.broker
def test_a_rotation_that_the_device_slept_through_is_told_and_costs_it_nothing(
    make_site: MakeSite, tmp_path: Path
) -> None:
    site = make_site()
    paths = Paths(tmp_path / "hub")
    rotation = KeyRotation(paths, HubVault(), lock=tmp_path / "lock", note=lambda _deed: None)
    rotation.rotate("orders", by_root=False, now=SystemClock().now())
    site.identity = open_identity(
        tmp_path / "hub", hosts=["localhost"], trust_domain="covey.internal", now=SystemClock().now()
    )
    site.publish(HUB_KEYS, site.identity.keys_message)
    site.say_as_hub(online=True)
    found = site.found()[HUB_NAME]
    assert found.state is State.WARN
    assert "rotated" in found.sentence
    assert found.command == site.subject.command("run")
    assert not (site.subject.settings.identity_dir / KEYCHAIN).exists()
    assert site.subject.identity is not None
    site.say_as_hub(online=True, signer=signer_from("another hub"))
    found = site.found()[HUB_NAME]
    assert (found.state, found.command) == (State.FAIL, broker_check.LOOK_AT_THE_HUB)


@pytest.mark.broker
def test_a_broker_without_fences_is_seen(make_site: MakeSite) -> None:
    site = make_site(configuration=lambda text: text.replace("acl_file", "#acl_file"))
    assert site.found()[ACL].state is State.FAIL


@pytest.mark.broker
def test_a_broker_that_lets_this_device_hear_others_is_seen(make_site: MakeSite) -> None:
    site = make_site(acl=lambda text: text.replace("pattern read covey/1/hub\n", "pattern read covey/1/#\n"))
    topic = device_topic("main.pump", Channel.STATE)
    site.publish(topic, b"x")
    found = site.found()[ACL]
    assert found.state is State.FAIL
    assert topic in found.sentence


@pytest.mark.broker
def test_a_certificate_of_another_authority_is_not_let_in(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site()
    now = SystemClock().now()
    other = open_identity(tmp_path / "other", hosts=["localhost"], trust_domain="other.example", now=now)
    stranger = enrol_at(other, tmp_path / "stranger", now=now, broker_port=site.port)
    trusted = replace(stranger, ca_path=site.identity.paths.ca)
    found = {each.name: each for each in broker_check.check(replace(site.subject, identity=trusted))}
    assert set(found) == {BROKER}
    assert found[BROKER].state is State.FAIL
    assert found[BROKER].command == site.subject.enrol_again


@pytest.mark.broker
def test_a_broker_of_another_authority_is_seen(make_site: MakeSite, tmp_path: Path) -> None:
    site = make_site()
    assert site.subject.identity is not None
    other = open_identity(
        tmp_path / "other", hosts=["localhost"], trust_domain="other.example", now=SystemClock().now()
    )
    trusting = replace(site.subject.identity, ca_path=other.paths.ca)
    found = {each.name: each for each in broker_check.check(replace(site.subject, identity=trusting))}
    assert found[BROKER].state is State.FAIL
    assert "certificate" in found[BROKER].sentence


# --- without one


def test_a_device_that_is_not_enrolled_has_no_broker(alone: Subject) -> None:
    assert list(broker_check.check(alone)) == []


def test_a_broker_that_is_away_fails_unless_a_person_stopped_the_link(enrolled: Subject) -> None:
    assert enrolled.identity is not None
    away = enrolled.identity.broker.model_copy(update={"port": free_port()})
    subject = replace(enrolled, identity=replace(enrolled.identity, broker=away))
    (found,) = broker_check.check(subject)
    assert found.state is State.FAIL
    assert str(away.port) in found.sentence
    paused = {"link": {"state": "paused"}}
    (found,) = broker_check.check(replace(subject, daemon=paused))
    assert found.state is State.WARN


def test_a_certificate_that_is_gone_is_not_taken_for_a_broker_that_is_away(enrolled: Subject) -> None:
    assert enrolled.identity is not None
    enrolled.identity.certificate_path.unlink()
    (found,) = broker_check.check(enrolled)
    assert found.state is State.FAIL
    assert "cannot be used" in found.sentence
    assert found.command == enrolled.enrol_again


def test_a_fence_holds_only_if_everything_that_must_be_refused_is() -> None:
    quiet = Heard(refused=None, strange=(), word=None)
    answers = {"a": REFUSED, "b": REFUSED}
    assert broker_check.judge_fence(quiet, answers).state is State.OK
    assert broker_check.judge_fence(replace(quiet, refused="Not authorized"), answers).state is State.FAIL
    assert broker_check.judge_fence(replace(quiet, strange=("x",)), answers).state is State.FAIL
    assert broker_check.judge_fence(quiet, {**answers, "b": GRANTED}).state is State.FAIL


def test_a_damaged_copy_of_the_hub_s_keys_is_named(enrolled: Subject) -> None:
    path = enrolled.settings.identity_dir / KEYCHAIN
    path.write_bytes(b"rubbish!")
    subject = replace(enrolled, identity=load_identity(enrolled.settings.identity_dir))
    found = {each.name: each for each in broker_check.check(subject)}[broker_check.KEYS_NAME]
    assert found.state is State.FAIL
    assert str(path) in found.sentence
    assert found.command == enrolled.command("run")


def test_a_chain_that_is_refused_is_told_as_that(enrolled: Subject) -> None:
    assert enrolled.identity is not None
    found = broker_check.judge_word(enrolled, enrolled.identity, os.urandom(40), b"rubbish")
    assert found.state is State.FAIL
    assert "chain" in found.sentence
    assert found.command == broker_check.LOOK_AT_THE_HUB


def test_a_word_that_is_no_message_is_not_the_hub_s(enrolled: Subject) -> None:
    assert enrolled.identity is not None
    found = broker_check.judge_word(enrolled, enrolled.identity, os.urandom(40))
    assert found.state is State.FAIL
