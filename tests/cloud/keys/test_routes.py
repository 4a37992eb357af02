"""The hub's keys over HTTPS: what is shown, who may rotate, what the audit log says, and that no secret is told."""

import pytest
from sqlmodel import select

from cloud.audit.tables import AuditEntry
from shared.cbor import decode
from shared.keys import Purpose
from tests.cloud.hub_api import HubApi


def entries(hub: HubApi) -> list[dict[str, object]]:
    with hub.database.read() as session:
        rows = session.exec(select(AuditEntry).where(AuditEntry.action == "key.rotate")).all()
        found = [decode(row.entry) for row in rows]
    return [entry for entry in found if isinstance(entry, dict)]


def test_every_key_is_shown_and_none_of_their_secrets(hub: HubApi) -> None:
    shown = hub.get("/v1/keys")
    assert [(key["purpose"], key["state"], key["is_private_here"]) for key in shown] == [
        (purpose, "current", True)
        for purpose in ("root", "issuing", "server", "client", "orders", "policy", "audit")
    ]
    assert shown[4]["fingerprint"] == hub.identity.signer.kid.hex()
    assert shown[0]["fingerprint"] == hub.identity.ca_sha256.hex()
    assert "PRIVATE" not in str(shown)


@pytest.mark.parametrize("purpose", ["orders", "policy", "audit"])
def test_a_signing_key_is_rotated_noted_and_used_at_once(hub: HubApi, purpose: str) -> None:
    signer = hub.identity.signer_for(Purpose(purpose))
    before = signer.kid
    answer = hub.client.post(f"/v1/keys/{purpose}/rotate", json={}).json()
    assert answer["key"] == signer.kid.hex() != before.hex()
    states = [(key["number"], key["state"]) for key in answer["keys"] if key["purpose"] == purpose]
    assert states == [(2, "current"), (1, "former")]
    [entry] = entries(hub)
    assert (entry["target"], entry["tenant"], entry["actor"]) == (purpose, None, "root")
    assert entry["detail"] == {
        "number": 2,
        "key": signer.kid.hex(),
        "before": before.hex(),
        "by_root": False,
    }


def test_the_issuing_authority_is_rotated_and_the_hub_s_own_certificates_with_it(hub: HubApi) -> None:
    before = hub.identity.paths.server.read_bytes(), hub.identity.issuers[-1].certificate
    answer = hub.client.post("/v1/keys/issuing/rotate", json={})
    assert answer.status_code == 200
    assert hub.identity.paths.server.read_bytes() != before[0]
    assert [issuer.certificate for issuer in hub.identity.issuers][:-1] == [before[1]]
    shown = hub.get("/v1/keys")
    assert [key["state"] for key in shown if key["purpose"] == "issuing"] == ["current", "former"]


def test_without_the_root_s_key_an_authority_is_refused_and_nothing_is_noted(hub: HubApi) -> None:
    hub.identity.paths.root_key.unlink()
    for path, body in (("issuing", {}), ("orders", {"by_root": True})):
        answer = hub.client.post(f"/v1/keys/{path}/rotate", json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "root_away")
    assert entries(hub) == []


def test_a_thief_s_key_is_replaced_by_the_root(hub: HubApi) -> None:
    stolen = hub.identity.signer.kid
    answer = hub.client.post("/v1/keys/orders/rotate", json={"by_root": True}).json()
    states = {key["fingerprint"]: key["state"] for key in answer["keys"]}
    assert states[stolen.hex()] == "replaced_by_root"
    former = hub.identity.trust.key(stolen)
    assert former is not None
    assert former.is_revoked


@pytest.mark.parametrize("path", ["root", "server", "derived", "ORDERS", "..%2Forders"])
def test_what_is_no_key_that_rotates_is_refused(hub: HubApi, path: str) -> None:
    assert hub.client.post(f"/v1/keys/{path}/rotate", json={}).status_code in (404, 422)


def test_keys_need_the_hub_s_administrator(hub: HubApi) -> None:
    del hub.client.headers["Authorization"]
    assert hub.client.get("/v1/keys").status_code == 401
    assert hub.client.post("/v1/keys/orders/rotate", json={}).status_code == 401


def test_a_device_enrolled_after_rotations_trusts_the_newest_key_and_the_same_root(hub: HubApi) -> None:
    before = hub.token(device="one")
    for purpose in ("orders", "orders", "issuing"):
        assert hub.client.post(f"/v1/keys/{purpose}/rotate", json={}).status_code == 200
    after = hub.token(device="two")
    assert before.ca == after.ca
