"""The comparison with NATS: what is counted, what voids it, and what its servers are told."""

from pathlib import Path

import pytest

from cloud.identity import Paths
from tests.bench.jetstream import Held, Look, check_same, hub_configuration, leaf_configuration, rate
from tests.support.process import ProcessFailedError

IDENTITY = Paths(Path("/keys"))


def test_the_clock_runs_from_the_first_look_that_found_messages() -> None:
    looks = [Look(10.0, 0), Look(10.5, 0), Look(11.0, 200), Look(12.0, 600), Look(13.0, 1_000)]
    assert rate(looks) == 400.0


def test_all_of_it_counts_from_the_request_if_one_look_found_everything() -> None:
    assert rate([Look(10.0, 0), Look(10.4, 0), Look(10.5, 1_000)]) == 2_000.0


def test_a_mirror_that_lacks_anything_voids_the_figure() -> None:
    leaf = Held(messages=10, last_seq=10, bytes=1_000)
    check_same(leaf, leaf)
    for hub in (Held(9, 10, 1_000), Held(10, 11, 1_000), Held(10, 10, 999)):
        with pytest.raises(ProcessFailedError, match="void"):
            check_same(leaf, hub)


def test_both_sides_show_certificates_and_only_the_hub_is_told_to_sync() -> None:
    hub = hub_configuration(Path("/there"), 1, 2, IDENTITY)
    leaf = leaf_configuration(Path("/there"), 3, 2, IDENTITY)
    assert "verify: true" in hub
    assert 'cert_file: "/keys/server.pem"' in hub
    assert 'cert_file: "/keys/client.pem"' in leaf
    assert 'url: "tls://localhost:2"' in leaf
    assert "sync_interval" not in hub + leaf
    assert "sync_interval: always" in hub_configuration(Path("/there"), 1, 2, IDENTITY, is_synced=True)
