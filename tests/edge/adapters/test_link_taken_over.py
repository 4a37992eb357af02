"""What the device hears when another connection takes its identity's place, as MQTT 5 has a broker say it.

Mosquitto says it from 2.0.15 on, and the one that the other tests start may be older: so here a broker is scripted,
over real TLS.
"""

import asyncio
import contextlib
import ssl
from pathlib import Path
from typing import Final

from edge.adapters.link_paho import BrokerFiles, PahoLink
from edge.ports import Connected, Disconnected, LinkFault
from tests.support.certificates import Authority

CONNACK: Final = bytes.fromhex("2003000000")
"""MQTT 5, section 3.2: no session, success, no properties."""
SUBACK: Final = bytes.fromhex("9004000100") + bytes([1])
"""Section 3.9: packet 1, no properties, granted QoS 1."""
TAKEN_OVER: Final = bytes.fromhex("e0028e00")
"""Section 3.14: DISCONNECT with reason 0x8E."""
WAIT_S: Final = 10.0


async def _play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take whoever comes, and give the session away as soon as it has subscribed."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        for answer in (CONNACK, SUBACK + TAKEN_OVER):
            await _packet(reader)
            writer.write(answer)
            await writer.drain()
        await reader.read()
    writer.close()


async def _packet(reader: asyncio.StreamReader) -> None:
    await reader.readexactly(1)
    length, shift = 0, 0
    while True:
        (byte,) = await reader.readexactly(1)
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    await reader.readexactly(length)


async def test_a_session_that_was_taken_over_is_told_as_such(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    theirs, ours = authority.issue("broker"), authority.issue("acme.fridge-1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.path))
    context.load_cert_chain(theirs.certificate, theirs.key)
    server = await asyncio.start_server(_play, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    link = PahoLink(
        broker=lambda: BrokerFiles(
            host="127.0.0.1",
            port=port,
            ca=authority.path,
            certificate=ours.certificate,
            key=ours.key,
        ),
        client_id="any",
        subscriptions=("covey/1/hub",),
        will=lambda connection: ("covey/1/d/acme.fridge-1/state", connection),
        ping_interval_s=30,
    )
    try:
        async with asyncio.timeout(WAIT_S), contextlib.aclosing(link.events()) as events:
            assert isinstance(await anext(events), Connected)
            ended = await anext(events)
    finally:
        server.close()
        await server.wait_closed()
    assert isinstance(ended, Disconnected)
    assert ended.fault is LinkFault.TAKEN_OVER
    assert "took its place" in ended.reason
