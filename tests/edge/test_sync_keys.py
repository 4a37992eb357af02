"""Sync while the hub's keys change: in whatever order the chain and what is signed with its keys arrive (rule P23)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from cloud.keys.certificates import make_root, pem_of
from edge.keychain import HubKeys
from edge.sync import LinkState
from shared.keychain import KeyChain, RootSigner, extended, state_key
from shared.keys import Purpose, Signer
from shared.topics import HUB_KEYS, HUB_STATUS, Channel
from tests.edge.test_sync import World, world_running
from tests.support.clock import ManualClock
from tests.support.device import signer_from
from tests.support.store import opened_journal

WAITING = "waiting for its key chain"


class Succession:
    """The orders keys of a hub, and the message that tells of them."""

    def __init__(self, folder: Path) -> None:
        root = ec.generate_private_key(ec.SECP256R1())
        folder.mkdir()
        (folder / "ca.crt").write_bytes(pem_of(make_root(root, now=ManualClock().now())))
        self.signer = signer_from("hub")
        self._root = RootSigner(root)
        self.chain = self._stated(KeyChain(), self.signer, by=self._root)

    def rotate(self, name: str) -> Signer:
        successor = signer_from(name)
        self.chain = self._stated(self.chain, successor, by=self.signer)
        self.signer = successor
        return successor

    @staticmethod
    def _stated(chain: KeyChain, signer: Signer, *, by: Signer | RootSigner) -> KeyChain:
        link = state_key(chain, purpose=Purpose.ORDERS, public=signer.public, at_ms=0, signer=by)
        return extended(chain, link)


@pytest.fixture
def keys(tmp_path: Path) -> Succession:
    return Succession(tmp_path / "identity")


@asynccontextmanager
async def following(tmp_path: Path, keys: Succession, records: int = 0) -> AsyncIterator[World]:
    hub_keys = HubKeys(tmp_path / "identity", enrolled=keys.signer.public)
    async with opened_journal(tmp_path / "store.sqlite") as journal:
        world = World(journal=journal, outbox=journal, clock=ManualClock(), hub_keys=hub_keys)
        await world.write(records)
        async with world_running(world):
            yield world


def tell(world: World, keys: Succession) -> None:
    world.broker.publish(HUB_KEYS, keys.chain.pack(), retain=True)


async def test_an_answer_by_a_key_that_is_not_known_yet_waits_for_the_chain(
    tmp_path: Path, keys: Succession
) -> None:
    """P23: the device asks again as soon as the chain has come."""
    async with following(tmp_path, keys) as world:
        for name in ("second", "third"):
            world.hub.signer = keys.rotate(name)
        world.say(Channel.HELLO_ACK, world.hub.hello_ack(await world.hello()))
        await world.until(lambda: world.refused.get("unknown_key") == 1)
        assert world.state is LinkState.CONNECTED
        assert WAITING in world.sync.status().detail
        tell(world, keys)
        await world.linked()
        assert world.sync.status().key_problem is None


async def test_a_chain_that_was_retained_comes_before_the_hello_s_answer(
    tmp_path: Path, keys: Succession
) -> None:
    """P23."""
    enrolled = keys.signer.public
    keys.rotate("second")
    successor = keys.rotate("third")
    async with opened_journal(tmp_path / "store.sqlite") as journal:
        hub_keys = HubKeys(tmp_path / "identity", enrolled=enrolled)
        world = World(journal=journal, outbox=journal, clock=ManualClock(), hub_keys=hub_keys)
        tell(world, keys)
        world.hub.signer = successor
        async with world_running(world):
            await world.linked()
            assert world.refused == {}


async def test_a_rotation_in_a_session_interrupts_nothing(tmp_path: Path, keys: Succession) -> None:
    """P23: what is under way is acknowledged with either key."""
    async with following(tmp_path, keys, records=3) as world:
        await world.linked()
        await world.batch()
        old = world.hub.signer
        successor = keys.rotate("second")
        tell(world, keys)
        await world.until(
            lambda: world.hub_keys is not None and world.hub_keys.key(successor.kid) is not None
        )
        assert world.hub.signer is old
        world.ack()
        await world.until(lambda: world.sync.status().waiting == 0)
        world.hub.signer = successor
        await world.write(1)
        await world.batch()
        world.ack()
        await world.until(lambda: world.sync.status().waiting == 0)
        assert world.refused == {}
        assert world.sync.is_linked


async def test_a_hub_that_comes_back_with_another_key_is_heard_once_its_chain_is_there(
    tmp_path: Path, keys: Succession
) -> None:
    """P18, P23: its word that it is there may come first."""
    async with following(tmp_path, keys) as world:
        await world.linked()
        await world.hub_goes()
        world.hub.signer = keys.rotate("second")
        world.broker.publish(HUB_STATUS, world.hub.status(online=True), retain=True)
        await world.until(lambda: world.refused.get("unknown_key") == 1)
        tell(world, keys)
        await world.linked()


async def test_a_forged_chain_is_refused_told_and_changes_nothing(tmp_path: Path, keys: Succession) -> None:
    """P23."""
    forged = Succession(tmp_path / "forger")
    thief = forged.rotate("thief")
    async with following(tmp_path, keys) as world:
        await world.linked()
        tell(world, forged)
        await world.until(lambda: world.sync.status().key_problem is not None)
        assert "neither by the key before it nor by the root" in str(world.sync.status().key_problem)
        assert world.hub_keys is not None
        assert world.hub_keys.key(thief.kid) is None
        assert world.sync.is_linked
        tell(world, keys)
        await world.until(lambda: world.sync.status().key_problem is None)
