"""The hub's doctor on the broker, at a real Mosquitto: reachable, closed to strangers, with fences that hold."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from cloud.adapters.broker_mosquitto import BrokerFiles, render
from cloud.adapters.clock_system import SystemClock
from cloud.adapters.probe_paho import Answer
from cloud.checks import broker as broker_check
from cloud.checks import revocation as revocation_check
from cloud.checks.broker import ACL, BROKER, STRANGERS, Tried
from cloud.checks.revocation import CUT, LIST, judge_file
from cloud.checks.subject import Subject
from cloud.devices.tables import DeviceCertificateRow
from cloud.identity import open_identity
from cloud.keys.certificates import fingerprint
from cloud.private_files import write_public
from cloud.revocation import Revoked, make_lists
from shared.enrolment import BrokerAddress
from shared.findings import Finding, State
from shared.topics import FROM_DEVICE, FROM_HUB, Channel, device_topic
from tests.cloud.checks.conftest import running
from tests.support.broker import Mosquitto
from tests.support.ports import free_port
from tests.support.revocation import empty_list

REFUSED, GRANTED = Answer(True, "Not authorized"), Answer(False, "Success")
Change = Callable[[str], str]
Site = Callable[..., Subject]


def same(text: str) -> str:
    return text


def without(rule: str) -> Change:
    """Takes that line out of the rules, which is in them."""

    def change(text: str) -> str:
        assert text.splitlines().count(rule) == 1
        return "\n".join(line for line in text.splitlines() if line != rule) + "\n"

    return change


@pytest.fixture
def site(subject: Subject, tmp_path: Path) -> Iterator[Site]:
    """Makes a broker with the hub's own configuration, changed as a test likes, and the hub that uses it."""
    with ExitStack() as stack:

        def make(*, configuration: Change = same, acl: Change = same) -> Subject:
            identity = open_identity(
                tmp_path / "identity",
                hosts=["localhost", "127.0.0.1"],
                trust_domain="covey.internal",
                now=SystemClock().now(),
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
            settings = subject.settings.model_copy(update={"home": tmp_path})
            return running(
                replace(
                    subject,
                    settings=settings,
                    identity=identity,
                    clock=SystemClock(),
                    broker=BrokerAddress(host="127.0.0.1", port=files.port),
                )
            )

        yield make


def found_in(subject: Subject) -> dict[str, Finding]:
    return {each.name: each for each in broker_check.check(subject)}


# --- at a real broker


@pytest.mark.broker
def test_the_hub_s_own_broker_is_well_and_nothing_of_the_look_remains(site: Site) -> None:
    hub = site()
    found = found_in(hub)
    assert {name: each.state for name, each in found.items()} == {
        BROKER: State.OK,
        STRANGERS: State.OK,
        ACL: State.OK,
    }
    assert "Not authorized" in found[ACL].sentence


@pytest.mark.broker
def test_a_broker_without_fences_is_seen(site: Site) -> None:
    hub = site(configuration=lambda text: text.replace("acl_file", "#acl_file"))
    assert found_in(hub)[ACL].state is State.FAIL


@pytest.mark.broker
def test_a_broker_that_lets_devices_hear_others_is_seen(site: Site) -> None:
    hub = site(acl=lambda text: text.replace("pattern read covey/1/hub\n", "pattern read covey/1/#\n"))
    topic = device_topic("main.fridge", Channel.STATE)
    publish_retained(hub, topic)
    found = found_in(hub)[ACL]
    assert found.state is State.FAIL
    assert topic in found.sentence


@pytest.mark.broker
def test_a_broker_that_lets_devices_speak_for_others_is_seen(site: Site) -> None:
    hub = site(acl=lambda text: text.replace("pattern write covey/1/d/%u/state", "pattern write covey/1/d/#"))
    found = found_in(hub)[ACL]
    assert found.state is State.FAIL
    assert "speak in another's name" in found.sentence


@pytest.mark.broker
@pytest.mark.parametrize("channel", FROM_DEVICE)
def test_a_broker_on_which_a_device_may_not_say_its_own_is_seen(site: Site, channel: Channel) -> None:
    found = found_in(site(acl=without(f"pattern write covey/1/d/%u/{channel}")))[ACL]
    assert found.state is State.FAIL
    assert f"/{channel}: " in found.sentence


@pytest.mark.broker
@pytest.mark.parametrize("channel", FROM_HUB)
def test_a_broker_that_does_not_bring_a_device_its_own_is_seen(site: Site, channel: Channel) -> None:
    found = found_in(site(acl=without(f"pattern read covey/1/d/%u/{channel}")))[ACL]
    assert found.state is State.FAIL
    assert f"/{channel}" in found.sentence


@pytest.mark.broker
def test_a_broker_that_takes_whoever_comes_is_seen(site: Site) -> None:
    def open_to_all(text: str) -> str:
        text = text.replace("require_certificate true", "require_certificate false")
        text = text.replace("use_username_as_clientid true", "use_username_as_clientid false")
        return text.replace("use_identity_as_username true", "use_identity_as_username false").replace(
            "allow_anonymous false", "allow_anonymous true"
        )

    found = found_in(site(configuration=open_to_all))
    assert found[STRANGERS].state is State.FAIL
    assert found[BROKER].state is State.FAIL  # without its name from the certificate the hub is nobody


@pytest.mark.broker
def test_a_broker_that_refuses_the_hub_s_own_topics_is_seen(site: Site) -> None:
    hub = site(acl=lambda text: text.replace("user hub", "user another"))
    assert found_in(hub)[BROKER].state is State.FAIL


# --- revocation


def revocation_in(subject: Subject) -> dict[str, Finding]:
    return {each.name: each for each in revocation_check.check(subject)}


@pytest.mark.broker
def test_a_broker_that_refuses_the_revoked_and_gives_sessions_away_is_well(site: Site) -> None:
    found = revocation_in(site())
    assert {name: each.state for name, each in found.items()} == {LIST: State.OK, CUT: State.OK}
    assert "names 0 certificates" in found[LIST].sentence


@pytest.mark.broker
def test_a_broker_without_the_revocation_list_is_seen(site: Site) -> None:
    found = revocation_in(site(configuration=lambda text: text.replace("crlfile", "#crlfile")))
    assert found[CUT].state is State.FAIL
    assert "lets in whose certificate is revoked" in found[CUT].sentence


@pytest.mark.broker
def test_a_broker_that_believes_any_client_id_is_seen(site: Site) -> None:
    hub = site(configuration=lambda text: text.replace("use_username_as_clientid", "#"))
    assert "keeps the session of who is revoked" in revocation_in(hub)[CUT].sentence


def test_a_revocation_list_that_is_missing_or_cut_off_is_seen(subject: Subject, tmp_path: Path) -> None:
    identity = open_identity(
        tmp_path / "identity",
        hosts=["localhost"],
        trust_domain="covey.internal",
        now=SystemClock().now(),
    )
    hub = replace(subject, settings=subject.settings.model_copy(update={"home": tmp_path}), identity=identity)
    (missing,) = judge_file(hub, identity)
    assert missing.state is State.WARN
    (missing,) = judge_file(running(hub), identity)
    assert missing.state is State.FAIL
    path = empty_list(identity, tmp_path / "broker" / "revoked.pem")
    (whole,) = judge_file(hub, identity)
    assert whole.state is State.OK
    path.write_bytes(path.read_bytes()[:-40])
    (damaged,) = judge_file(hub, identity)
    assert damaged.state is State.FAIL


@pytest.mark.broker
def test_a_broker_of_another_authority_is_seen(site: Site, tmp_path: Path) -> None:
    hub = site()
    other = open_identity(
        tmp_path / "other" / "identity",
        hosts=["localhost"],
        trust_domain="other.example",
        now=SystemClock().now(),
    )
    settings = hub.settings.model_copy(update={"home": tmp_path / "other"})
    found = found_in(replace(hub, settings=settings, identity=other))
    assert set(found) == {BROKER}
    assert found[BROKER].state is State.FAIL
    assert "certificate" in found[BROKER].sentence


# --- a broker that is not there


@pytest.fixture
def away(subject: Subject) -> Subject:
    return replace(subject, broker=BrokerAddress(host="127.0.0.1", port=free_port()))


def test_the_broker_of_a_hub_that_does_not_run_is_not_missed(away: Subject) -> None:
    found = found_in(away)[BROKER]
    assert found.state is State.WARN
    assert found.command == away.start


def test_the_broker_of_a_running_hub_is_missed(away: Subject) -> None:
    assert found_in(running(away))[BROKER].state is State.FAIL


def test_another_s_broker_is_missed_always(away: Subject) -> None:
    found = found_in(replace(away, has_own_broker=False))[BROKER]
    assert found.state is State.FAIL
    assert found.command == "systemctl status mosquitto"


def test_without_keys_there_is_nothing_to_try(away: Subject) -> None:
    assert found_in(replace(away, identity=None))[BROKER].state is State.WARN


# --- judgement


def test_a_fence_holds_only_if_everything_that_must_be_refused_is() -> None:
    held = Tried(refused=None, deaf_to=[], strange=[], spoken={"a": REFUSED, "b": REFUSED})
    assert broker_check.judge_fence(held).state is State.OK
    for change in (
        {"refused": "Not authorized"},
        {"strange": ["covey/1/d/main.fridge/state"]},
        {"spoken": {"a": REFUSED, "b": GRANTED}},
    ):
        assert broker_check.judge_fence(replace(held, **change)).state is State.FAIL


def publish_retained(hub: Subject, topic: str) -> None:
    """As the hub, to which the ACL allows everything."""
    assert hub.identity is not None
    paths = hub.identity.paths
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    context = ssl.create_default_context(cafile=str(paths.ca))
    context.load_cert_chain(paths.client, paths.client_key)
    client.tls_set_context(context)
    client.connect(hub.broker.host, hub.broker.port)
    client.loop_start()
    try:
        client.publish(topic, b"x", qos=1, retain=True).wait_for_publish(10)
    finally:
        client.disconnect()
        client.loop_stop()


def test_whom_the_list_refuses_though_the_database_was_put_back_is_named(subject: Subject) -> None:
    identity, database, now = subject.identity, subject.database, subject.clock.now()
    assert identity is not None
    assert database is not None
    issuer = fingerprint(identity.issuers[0].certificate)
    with database.write() as session:
        for serial, name in ((0xA, "main.fridge"), (0xB, "main.pump"), (0xC, "main.oven")):
            session.add(
                DeviceCertificateRow(
                    serial=f"{serial:x}",
                    principal=name,
                    issuer_sha256=issuer,
                    sha256="",
                    not_after=now + timedelta(days=30),
                    made_at=now,
                )
            )
    due = [
        Revoked(serial=serial, issuer_sha256=issuer, at=now, reason=reason)
        for serial, reason in ((0xA, "unspecified"), (0xB, "certificateHold"), (0xC, "superseded"))
    ]
    path = subject.settings.revocation_file
    path.parent.mkdir(parents=True, exist_ok=True)
    write_public(path, make_lists(identity.issuers, due, before=None, now=now))
    whole, older = judge_file(subject, identity)
    assert (whole.state, older.state) == (State.OK, State.WARN)
    assert "main.fridge" in older.sentence
    assert "main.pump" not in older.sentence
    assert "main.oven" not in older.sentence
    assert older.command is not None
    assert "device revoke main.fridge --reason" in older.command
