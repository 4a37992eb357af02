"""Who the broker lets in, and where it lets them speak and listen: its certificates and its ACL, for real."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cloud.identity import Identity, open_identity, parse_csr
from shared.ids import Principal
from shared.topics import FROM_DEVICE, FROM_HUB, HUB_STATUS, Channel, device_topic, every_device
from tests.support.ingest import started
from tests.support.raw_device import NOT_AUTHORIZED, SUCCESS, NotConnectedError, RawConnection, RawDevice
from tests.support.real_hub import RealHub

pytestmark = [pytest.mark.broker, pytest.mark.slow]

MakeDevice = Callable[[], RawDevice]


def authority(directory: Path) -> Identity:
    """Another hub's certificate authority."""
    return open_identity(directory, hosts=["localhost"], trust_domain="other.example", now=datetime.now(UTC))


def certificate_for(principal: str, issuer: Identity, directory: Path) -> tuple[Path, Path]:
    """PEM files of a certificate for `principal` and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, principal)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    made = issuer.certify_device(
        parse_csr(csr.public_bytes(Encoding.PEM).decode()), Principal.parse(principal), now=datetime.now(UTC)
    )
    paths = directory / "device.crt", directory / "device.key"
    paths[0].write_text(made.pem)
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


def connection(hub: RealHub, certificate: Path | None, key: Path | None) -> RawConnection:
    return RawConnection(
        host="localhost",
        port=hub.mqtt_port,
        ca=hub.home / "identity" / "ca.pem",
        certificate=certificate,
        key=key,
    )


def test_a_certificate_of_another_ca_is_not_let_in(
    real_hub: RealHub, raw_device: MakeDevice, tmp_path: Path
) -> None:
    victim = raw_device()
    certificate, key = certificate_for(victim.principal, authority(tmp_path / "other"), tmp_path)
    with pytest.raises(NotConnectedError), connection(real_hub, certificate, key):
        pass
    victim.link()
    victim.script.journal.append(started())
    assert victim.send(victim.script.journal).upto == 1


def test_without_a_certificate_nobody_is_let_in(real_hub: RealHub) -> None:
    with pytest.raises(NotConnectedError), connection(real_hub, None, None):
        pass


def test_a_device_does_not_talk_to_a_broker_of_another_ca(real_hub: RealHub, tmp_path: Path) -> None:
    other = authority(tmp_path / "other")
    certificate, key = certificate_for("main.fridge", other, tmp_path)
    stranger = RawConnection(
        host="localhost", port=real_hub.mqtt_port, ca=other.paths.ca, certificate=certificate, key=key
    )
    with pytest.raises(NotConnectedError, match="certificate verify failed"), stranger:
        pass


@pytest.mark.parametrize("channel", FROM_DEVICE, ids=lambda channel: str(channel.value))
def test_publishing_in_another_s_name_is_refused(
    channel: Channel, raw_device: MakeDevice, real_hub: RealHub
) -> None:
    device, victim = raw_device(), raw_device()
    device.link()
    raw = device.script.state(online=True) if channel is Channel.STATE else device.script.hello()
    assert device.publish(device_topic(victim.principal, channel), raw) == NOT_AUTHORIZED
    assert real_hub.refusals(victim.name) == {}


@pytest.mark.parametrize("channel", FROM_HUB, ids=lambda channel: str(channel.value))
def test_a_device_cannot_speak_as_the_hub_not_even_to_itself(
    channel: Channel, raw_device: MakeDevice
) -> None:
    device, victim = raw_device(), raw_device()
    for principal in (device.principal, victim.principal):
        assert device.publish(device_topic(principal, channel), b"forged") == NOT_AUTHORIZED
    assert device.publish(HUB_STATUS, b"forged", retain=True) == NOT_AUTHORIZED


def test_listening_to_another_s_topics_brings_nothing(raw_device: MakeDevice) -> None:
    """Mosquitto before 2.1 grants any subscription and asks the ACL when it delivers; later ones refuse it at once."""
    device, victim = raw_device(), raw_device()
    for filter_ in (f"covey/1/d/{victim.principal}/#", "covey/1/d/#", "#"):
        device.subscribe(filter_)
    victim.link()
    victim.script.journal.append(started())
    assert victim.send(victim.script.journal).upto == 1
    # Its own word still comes, and came after everything that the victim said and heard.
    device.link()
    assert [topic for topic in device.heard if victim.principal in topic] == []


def test_joining_a_share_of_the_hub_s_swallows_nobody_s_messages(raw_device: MakeDevice) -> None:
    """A share picks one of its members for each message; who may not read what it is picked for loses it."""
    device, victim = raw_device(), raw_device()
    for share in ("hub", "", "covey", "ingest"):
        for channel in (Channel.HELLO, Channel.UP_JOURNAL):
            device.subscribe(every_device(channel, share=share or None))
    victim.link()
    for number in range(6):
        seq = victim.script.journal.append(started(number))
        assert victim.send(victim.script.journal, first=seq).upto == seq
    assert [topic for topic in device.heard if victim.principal in topic] == []


def test_the_last_word_of_a_device_may_only_be_its_own(raw_device: MakeDevice, real_hub: RealHub) -> None:
    device = raw_device()
    device.link()
    assert device.say(Channel.STATE, device.script.state(online=False)) == SUCCESS
    real_hub.process.wait_until(
        lambda: not real_hub.device(device.name)["presence"]["broker_online"], "to see it go", timeout_s=15
    )
