"""Mosquitto starts, survives a kill on the same port, and asks for certificates when it should."""

import datetime as dt
import ipaddress
import socket
import ssl
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.x509.oid import NameOID
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from tests.support.broker import BrokerCertificates, Mosquitto

pytestmark = pytest.mark.broker


def connect(broker: Mosquitto, tls: ssl.SSLContext | None = None) -> str:
    """What the broker answers to a CONNECT."""
    answers: list[str] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_connect = lambda _client, _data, _flags, reason, _properties: answers.append(str(reason))
    if tls is not None:
        client.tls_set_context(tls)
    client.connect("127.0.0.1", broker.port, keepalive=10)
    while not answers:
        if client.loop(timeout=5) is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            break
    client.disconnect()
    return answers[0] if answers else "no answer"


def test_broker_comes_back_on_its_port_after_a_kill(tmp_path: Path) -> None:
    with Mosquitto.plain(tmp_path) as broker:
        assert connect(broker) == "Success"
        broker.kill()
        assert not broker.is_running
        with pytest.raises(ConnectionRefusedError):
            connect(broker)
        broker.start()
        assert connect(broker) == "Success"
        broker.restart()
        assert connect(broker) == "Success"
    assert not broker.is_running


def test_broker_with_mutual_tls_refuses_a_client_without_certificate(tmp_path: Path) -> None:
    certificates, client = authority(tmp_path)
    with Mosquitto.mutual_tls(tmp_path / "broker", certificates, acl="pattern readwrite d/%u/#\n") as broker:
        with_certificate = ssl.create_default_context(cafile=certificates.authority)
        with_certificate.load_cert_chain(client)
        assert connect(broker, with_certificate) == "Success"
        without = ssl.create_default_context(cafile=certificates.authority)
        without.maximum_version = ssl.TLSVersion.TLSv1_2  # where the refusal is part of the handshake
        with (
            socket.create_connection(("127.0.0.1", broker.port), timeout=5) as sock,
            pytest.raises(ssl.SSLError, match="alert"),
        ):
            without.wrap_socket(sock, server_hostname="127.0.0.1")


def authority(directory: Path) -> tuple[BrokerCertificates, Path]:
    """A certificate authority, the broker's certificate, and one of a client (with its key in the same file)."""
    root_key, root = certificate("root", None)
    broker_key, broker = certificate("broker", (root_key, root))
    client_key, client = certificate("client", (root_key, root))
    paths = BrokerCertificates(
        authority=directory / "ca.crt", certificate=directory / "broker.crt", key=directory / "broker.key"
    )
    paths.authority.write_bytes(pem(root))
    paths.certificate.write_bytes(pem(broker))
    paths.key.write_bytes(key_pem(broker_key))
    (directory / "client.pem").write_bytes(key_pem(client_key) + pem(client))
    return paths, directory / "client.pem"


def certificate(
    name: str, issuer: tuple[EllipticCurvePrivateKey, x509.Certificate] | None
) -> tuple[EllipticCurvePrivateKey, x509.Certificate]:
    key = generate_private_key(SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer[1].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
    )
    return key, builder.sign(key if issuer is None else issuer[0], hashes.SHA256())


def pem(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM)


def key_pem(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
