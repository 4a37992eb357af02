"""A valid call of each operation of the API, made of real objects of tenant `main`.

Every operation needs an entry: `test_operations` fails without. An example is made anew for each call that shall
succeed, because many calls succeed once.
"""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pyotp

from cloud.caller import Permission
from cloud.http_gate import SIGN_IN_PATH
from shared.enrolment import CA_PATH, ENROL_PATH, HEALTH_PATH, SECRET_BYTES, Token
from shared.keys import SIGNATURE_BYTES
from shared.knowledge.fetch import FETCH_PATH
from shared.renewal import RENEW_PATH
from shared.restore import RESTORE_PATH
from tests.cloud.doors.world import CLERK, MARK, OURS, ROOT, SECRET, World
from tests.cloud.hub_api import enrol_request

NO_DEVICE: Final = f"{OURS}.nosuch"
NO_ID: Final = "aaaaaaaaaaaaaaaa"


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """`object`: the name or id in `path` that belongs to `main`, and `unknown` one of the same shape that nobody has;
    both empty where there is none. `tenant_asked`: the call names the tenant in its query or body, so that another
    tenant's caller is told that there is none."""

    path: str
    json: Any = None
    params: dict[str, Any] | None = None
    object: str = ""
    unknown: str = ""
    tenant_asked: bool = False
    content: bytes | None = None
    """A body that is no JSON."""
    also_needs: Permission | None = None
    """What one must be allowed to beyond what the operation declares."""
    refused: str = ""
    """The code of the answer, where a call that works needs more than this test has."""


Make = Callable[[World], Example]


def plain(path: str, json: Any = None, **params: Any) -> Make:
    """About nothing in particular."""
    return lambda _: Example(path=path, json=json, params=params or None)


def of(
    path: str, make: Callable[[World], str], json: Any = None, *, unknown: str = NO_DEVICE, **params: Any
) -> Make:
    """About one object of ours."""

    def example(world: World) -> Example:
        object_ = make(world)
        return Example(
            path=path.format(object_), json=json, params=params or None, object=object_, unknown=unknown
        )

    return example


def in_tenant(path: str, json: Any = None, **params: Any) -> Make:
    """About a layer of settings of ours, which is there even if nobody wrote it."""
    return lambda _: Example(path=path, json=json, params={"tenant": OURS, **params}, tenant_asked=True)


def _renew(world: World) -> Example:
    # What a real device sends is `tests.cloud.devices`'.
    junk = base64.b64encode(b"junk").decode()
    body = {"device": world.principal(), "request": junk, "certificate_pem": "junk", "proof": junk}
    return Example(path=RENEW_PATH, json=body, refused="renewal_refused")


def _restore(world: World) -> Example:
    # What a real board fetches is `tests.cloud.devices`'.
    secret = base64.b64encode(bytes(SECRET_BYTES)).decode()
    proof = base64.b64encode(bytes(SIGNATURE_BYTES)).decode()
    body = {"token_id": world.enrolment_token(), "secret": secret, "lane": "journal", "proof": proof}
    return Example(path=RESTORE_PATH, json=body, refused="token_unknown")


def _fetch(world: World) -> Example:
    # What a real device sends is `tests.cloud.knowledge`'s.
    body = {"device": world.principal(), "request": base64.b64encode(b"junk").decode()}
    return Example(path=FETCH_PATH, json=body, refused="fetch_refused")


def _put_document(world: World) -> Example:
    collection = world.collection()
    return Example(
        path=f"/v1/knowledge/{collection}/documents",
        params={"name": MARK},
        content=MARK.encode(),
        object=collection,
        unknown=NO_COLLECTION,
    )


def _sign_in(world: World) -> Example:
    body = {"name": world.name(), "password": PASSWORD["password"]}
    assert world.call(ROOT, "POST", "/v1/users", {**body, "tenant": OURS, "role": "viewer"}).is_success
    return Example(path=SIGN_IN_PATH, json=body)


def _create_user(world: World) -> Example:
    body = {"name": world.name(), "tenant": OURS, "role": "viewer"}
    return Example(path="/v1/users", json=body, tenant_asked=True)


def _confirm_totp(world: World) -> Example:
    user = world.user()
    path = f"/v1/users/{user}/totp"
    begun = world.call(ROOT, "POST", path).json()
    code = pyotp.TOTP(begun["secret"]).at(world.hub.clock.now())
    body = {"ticket": begun["ticket"], "code": code}
    return Example(path=path, json=body, object=user, unknown=NO_USER)


def _create_tenant(world: World) -> Example:
    return Example(path="/v1/tenants", json={"name": f"new-{world.name()}"[-20:].strip("-")})


def _taken_role(world: World) -> Example:
    user = world.user()
    return Example(path=f"/v1/users/{user}/roles/{OURS}", object=user, unknown=NO_USER)


def _awaiting(world: World) -> str:
    """A device that was enrolled with a token which needs approval."""
    body = {"device": world.name(), "needs_approval": True}
    token = Token.parse(world.call(ROOT, "POST", "/v1/tokens", body).json()["token"])
    enrolled = world.call(None, "POST", ENROL_PATH, enrol_request(token))
    return str(enrolled.json()["principal"])


def _enrol(world: World) -> Example:
    return Example(path=ENROL_PATH, json=enrol_request(world.hub.token(device=world.name())))


def _create_task(world: World) -> Example:
    # Not by path, but a device of ours all the same.
    device = world.principal()
    body = {"goal": MARK, "devices": [device], "tenant": OURS}
    return Example(path="/v1/tasks", json=body, tenant_asked=True)


def _create_token(world: World) -> Example:
    body = {"device": world.name(), "tenant": OURS}
    return Example(path="/v1/tokens", json=body, tenant_asked=True)


def _after_a_deed(path: str, **params: Any) -> Make:
    def example(world: World) -> Example:
        world.deed()
        return Example(path=path, params=params or None)

    return example


def _secret(verb: str, **body: str) -> Make:
    return lambda world: Example(
        path=f"/v1/secrets/{SECRET}{verb}",
        json={"site": world.site(), "tenant": OURS, **body},
        tenant_asked=True,
    )


def _publish(path: str, **body: Any) -> Make:
    return lambda world: Example(
        path=path,
        json={"bundle": base64.b64encode(world.bundle()).decode(), "tenant": OURS, **body},
        tenant_asked=True,
    )


def _vote(world: World) -> Example:
    nonce = world.approval()
    # Whoever has the role may; nobody here has it.
    return Example(
        path=f"/v1/approvals/{nonce}",
        json={"granted": True},
        object=nonce,
        unknown=NO_ID,
        refused="not_your_role",
    )


def _decided(verb: str, asker: str) -> Make:
    def example(world: World) -> Example:
        proposal = world.proposal(asker)
        path = f"/v1/proposals/{proposal['id']}{verb}"
        body = {"content_sha256": proposal["content_sha256"]} if verb == "/agree" else None
        needs = Permission.OPERATE if verb in ("/agree", "/reject") else None
        return Example(path=path, json=body, object=proposal["id"], unknown=NO_ID, also_needs=needs)

    return example


BY_CONTENT: Final = frozenset(
    f"POST /v1/proposals/{{proposal_id}}/{verb}" for verb in ("agree", "reject", "withdraw")
)
"""What these need follows from what was asked for, and who asked."""
QUESTIONS: Final = frozenset({"POST /v1/knowledge/search", "POST /v1/ask"})
"""These change nothing: a question may be too long for an address, and stands in no log of addresses."""
NO_COLLECTION: Final = "nosuch"
NO_QUESTION: Final = "999999999"
NO_USER: Final = "nobody-at-all"
USER: Final = "/v1/users/{}"
PASSWORD: Final = {"password": f"correct horse {MARK} staple"}
ITEM: Final = "/v1/memory/items/{}"
FORGET: Final = {"about": "nothing of the kind", "everywhere": True, "tenant": OURS}
COLLECTION: Final = "/v1/knowledge/{}"
PUT: Final = {"document": {"a": MARK}}
PATCH: Final = {"patch": {"b": MARK}}
DEVICE: Final = "/v1/devices/{}"
TASK: Final = "/v1/tasks/{}"
SITE: Final = f"/v1/twins/site/{MARK}"

EXAMPLES: Final[dict[str, Make]] = {
    f"GET {HEALTH_PATH}": plain(HEALTH_PATH),
    f"GET {CA_PATH}": plain(CA_PATH),
    f"POST {ENROL_PATH}": _enrol,
    f"POST {RENEW_PATH}": _renew,
    f"POST {RESTORE_PATH}": _restore,
    "GET /v1/openapi.json": plain("/v1/openapi.json"),
    "GET /metrics": plain("/metrics"),
    # Devices, their logs, tokens
    "POST /v1/tokens": _create_token,
    "GET /v1/tokens": plain("/v1/tokens"),
    "POST /v1/tokens/batch": lambda _: Example(
        path="/v1/tokens/batch", json={"count": 2, "tenant": OURS}, tenant_asked=True
    ),
    "DELETE /v1/tokens/{token_id}": of("/v1/tokens/{}", World.enrolment_token, unknown=NO_ID),
    "POST /v1/devices/{name}/approve": of(f"{DEVICE}/approve", _awaiting),
    "POST /v1/devices/{name}/quarantine": of(f"{DEVICE}/quarantine", World.principal, {"reason": MARK}),
    "POST /v1/devices/{name}/release": of(f"{DEVICE}/release", World.quarantined),
    "POST /v1/devices/{name}/replace": of(f"{DEVICE}/replace", World.principal, {"reason": MARK}),
    "POST /v1/devices/{name}/revoke": of(f"{DEVICE}/revoke", World.principal),
    # People, tenants, API tokens
    "GET /v1/me": plain("/v1/me"),
    f"POST {SIGN_IN_PATH}": _sign_in,
    "POST /v1/users": _create_user,
    "GET /v1/users": plain("/v1/users"),
    "GET /v1/users/{name}": of(USER, World.user, unknown=NO_USER),
    "DELETE /v1/users/{name}": of(USER, World.user, unknown=NO_USER),
    "POST /v1/users/{name}/disable": of(f"{USER}/disable", World.user, unknown=NO_USER),
    "POST /v1/users/{name}/enable": of(f"{USER}/enable", World.user, unknown=NO_USER),
    "PUT /v1/users/{name}/password": of(f"{USER}/password", World.user, PASSWORD, unknown=NO_USER),
    "POST /v1/users/{name}/totp": of(f"{USER}/totp", World.user, unknown=NO_USER),
    "PUT /v1/users/{name}/totp": _confirm_totp,
    "DELETE /v1/users/{name}/totp": of(f"{USER}/totp", World.user, unknown=NO_USER),
    "PUT /v1/users/{name}/roles/{tenant}": of(
        f"{USER}/roles/{OURS}", World.user, {"role": "author"}, unknown=NO_USER
    ),
    "DELETE /v1/users/{name}/roles/{tenant}": _taken_role,
    "GET /v1/tenants": plain("/v1/tenants"),
    "POST /v1/tenants": _create_tenant,
    "DELETE /v1/tenants/{name}": of("/v1/tenants/{}", World.tenant),
    "GET /v1/api-tokens": plain("/v1/api-tokens"),
    "POST /v1/api-tokens": lambda _: Example(
        path="/v1/api-tokens",
        json={"label": "x", "role": "viewer", "tenant": OURS},
        tenant_asked=True,
    ),
    "DELETE /v1/api-tokens/{token_id}": of("/v1/api-tokens/{}", World.api_token, unknown=NO_ID),
    # Two people
    "GET /v1/proposals": plain("/v1/proposals"),
    "GET /v1/proposals/{proposal_id}": _decided("", ROOT),
    "POST /v1/proposals/{proposal_id}/agree": _decided("/agree", CLERK),
    "POST /v1/proposals/{proposal_id}/reject": _decided("/reject", CLERK),
    "POST /v1/proposals/{proposal_id}/withdraw": _decided("/withdraw", ROOT),
    # Keys of the hub
    "GET /v1/keys": plain("/v1/keys"),
    "POST /v1/keys/{purpose}/rotate": plain("/v1/keys/policy/rotate", {}),
    # Knowledge
    f"POST {FETCH_PATH}": _fetch,
    "POST /v1/knowledge": lambda world: Example(
        path="/v1/knowledge", json={"name": world.name(), "tenant": OURS}, tenant_asked=True
    ),
    "GET /v1/knowledge": in_tenant("/v1/knowledge"),
    "POST /v1/knowledge/search": lambda _: Example(
        path="/v1/knowledge/search", json={"query": MARK, "tenant": OURS}, tenant_asked=True
    ),
    "POST /v1/ask": lambda _: Example(
        path="/v1/ask", json={"question": MARK, "tenant": OURS}, tenant_asked=True
    ),
    "GET /v1/knowledge/{collection}": of(COLLECTION, World.collection, unknown=NO_COLLECTION),
    "PATCH /v1/knowledge/{collection}": of(
        COLLECTION, World.collection, {"labels": ["patient"]}, unknown=NO_COLLECTION
    ),
    "DELETE /v1/knowledge/{collection}": of(COLLECTION, World.collection, unknown=NO_COLLECTION),
    "GET /v1/knowledge/{collection}/documents": of(
        f"{COLLECTION}/documents", World.document, unknown=NO_COLLECTION
    ),
    "PUT /v1/knowledge/{collection}/documents": _put_document,
    "DELETE /v1/knowledge/{collection}/documents": of(
        f"{COLLECTION}/documents", World.document, unknown=NO_COLLECTION, name=MARK
    ),
    "POST /v1/knowledge/{collection}/publish": of(
        f"{COLLECTION}/publish", World.collection, unknown=NO_COLLECTION
    ),
    "GET /v1/knowledge/{collection}/revisions": of(
        f"{COLLECTION}/revisions", World.revised, unknown=NO_COLLECTION
    ),
    "POST /v1/knowledge/{collection}/rollback": of(
        f"{COLLECTION}/rollback", World.revised, {"number": 1}, unknown=NO_COLLECTION
    ),
    "GET /v1/knowledge/{collection}/devices": of(
        f"{COLLECTION}/devices", World.revised, unknown=NO_COLLECTION
    ),
    # Questions
    "GET /v1/questions": in_tenant("/v1/questions"),
    "GET /v1/questions/{number}": of("/v1/questions/{}", World.question, unknown=NO_QUESTION),
    # Memory
    "GET /v1/memory/items": in_tenant("/v1/memory/items"),
    "GET /v1/memory/items/{item}": of(ITEM, World.learned, unknown=NO_ID),
    "POST /v1/memory/items/{item}/approve": of(f"{ITEM}/approve", World.learned, unknown=NO_ID),
    "POST /v1/memory/items/{item}/reject": of(f"{ITEM}/reject", World.learned, unknown=NO_ID),
    "POST /v1/memory/items/{item}/retract": of(f"{ITEM}/retract", World.approved, unknown=NO_ID),
    "GET /v1/memory/rules": in_tenant("/v1/memory/rules"),
    "POST /v1/memory/rules": lambda _: Example(
        path="/v1/memory/rules", json={"tenant": OURS, "devices": ["nosuch"]}, tenant_asked=True
    ),
    "DELETE /v1/memory/rules/{rule}": of("/v1/memory/rules/{}", World.memory_rule, unknown=NO_ID),
    "POST /v1/memory/forget/look": lambda _: Example(
        path="/v1/memory/forget/look", json=FORGET, tenant_asked=True
    ),
    "POST /v1/memory/forget": lambda _: Example(path="/v1/memory/forget", json=FORGET, tenant_asked=True),
    "GET /v1/memory/forgets": in_tenant("/v1/memory/forgets"),
    "GET /v1/memory/forgets/{request}": of("/v1/memory/forgets/{}", World.forgetting, unknown=NO_ID),
    # Secrets
    "GET /v1/devices/{name}/secrets": of(f"{DEVICE}/secrets", World.principal),
    "GET /v1/secrets/{secret}": in_tenant(f"/v1/secrets/{SECRET}"),
    "PUT /v1/secrets/{secret}": _secret("", value="correct-horse"),
    "POST /v1/secrets/{secret}/remove": _secret("/remove"),
    # Rules
    "POST /v1/policies": _publish("/v1/policies", waves=[100], soak_s=0),
    "POST /v1/policies/simulate": _publish("/v1/policies/simulate"),
    "GET /v1/policies": in_tenant("/v1/policies"),
    "POST /v1/policies/{release}/stop": of("/v1/policies/{}/stop", World.release, unknown=NO_ID),
    "GET /v1/devices/{name}/decisions/{seq}": of(f"{DEVICE}/decisions/1", World.decided),
    "GET /v1/approvals": in_tenant("/v1/approvals"),
    "POST /v1/approvals/{nonce}": _vote,
    "GET /v1/duties": in_tenant("/v1/duties"),
    "POST /v1/duties": lambda world: Example(
        path="/v1/duties",
        json={"person": world.name(), "role": "supervisor", "tenant": OURS},
        tenant_asked=True,
    ),
    "POST /v1/stops": lambda world: Example(
        path="/v1/stops", json={"stopped": True, "site": world.site(), "tenant": OURS}, tenant_asked=True
    ),
    "GET /v1/stops": in_tenant("/v1/stops"),
    "GET /v1/findings": in_tenant("/v1/findings"),
    # The audit log
    "GET /v1/audit/state": plain("/v1/audit/state"),
    "POST /v1/audit/accept": lambda _: Example(
        path="/v1/audit/accept", json={"mark": "0" * 16, "reason": MARK}, refused="audit_sound"
    ),
    "GET /v1/audit/entries": plain("/v1/audit/entries"),
    "GET /v1/audit/head": _after_a_deed("/v1/audit/head"),
    "GET /v1/audit/entries/{seq}/proof": of("/v1/audit/entries/{}/proof", World.deed, unknown="999999999999"),
    "GET /v1/audit/consistency": _after_a_deed("/v1/audit/consistency", old=1),
    "GET /v1/audit/export": _after_a_deed("/v1/audit/export"),
    "GET /v1/devices": plain("/v1/devices"),
    "GET /v1/presence": plain("/v1/presence"),
    "GET /v1/devices/{name}": of(DEVICE, World.principal),
    "GET /v1/devices/{name}/journal": of(f"{DEVICE}/journal", World.principal),
    "GET /v1/devices/{name}/verify": of(f"{DEVICE}/verify", World.principal),
    "GET /v1/devices/{name}/metrics": of(f"{DEVICE}/metrics", World.measured),
    "GET /v1/devices/{name}/metrics/{series}": of(f"{DEVICE}/metrics/cpu/load", World.measured),
    # Forks, gaps, dead letters
    "GET /v1/forks": plain("/v1/forks"),
    "GET /v1/devices/{name}/forks": of(f"{DEVICE}/forks", World.restored),
    "POST /v1/devices/{name}/resolve": of(f"{DEVICE}/resolve", World.restored),
    "GET /v1/devices/{name}/gaps": of(f"{DEVICE}/gaps", World.principal),
    "GET /v1/devices/{name}/deadletters": of(f"{DEVICE}/deadletters", World.lettered),
    "POST /v1/devices/{name}/deadletters": of(f"{DEVICE}/deadletters", World.lettered, {"action": "dismiss"}),
    # Tasks
    "POST /v1/tasks": _create_task,
    "GET /v1/tasks": plain("/v1/tasks"),
    "GET /v1/tasks/{task_id}": of(TASK, World.task, unknown=NO_ID),
    "POST /v1/tasks/{task_id}/cancel": of(f"{TASK}/cancel", World.task, unknown=NO_ID),
    "POST /v1/tasks/{task_id}/nodes/{node}/answer": of(
        f"{TASK}/nodes/0/answer", World.asking_task, {"call": 1, "happened": True}, unknown=NO_ID
    ),
    "GET /v1/tasks/{task_id}/events": of(f"{TASK}/events", World.ended_task, unknown=NO_ID),
    # Settings
    "GET /v1/twins": in_tenant("/v1/twins"),
    "GET /v1/twins/fleet": in_tenant("/v1/twins/fleet"),
    "PUT /v1/twins/fleet": in_tenant("/v1/twins/fleet", PUT),
    "PATCH /v1/twins/fleet": in_tenant("/v1/twins/fleet", PATCH),
    "DELETE /v1/twins/fleet": in_tenant("/v1/twins/fleet"),
    "GET /v1/twins/{scope}/{name}": in_tenant(SITE),
    "PUT /v1/twins/{scope}/{name}": in_tenant(SITE, PUT),
    "PATCH /v1/twins/{scope}/{name}": in_tenant(SITE, PATCH),
    "DELETE /v1/twins/{scope}/{name}": in_tenant(SITE),
    "GET /v1/twins/device/{name}": of("/v1/twins/device/{}", World.principal),
    "PUT /v1/twins/device/{name}": of("/v1/twins/device/{}", World.principal, PUT),
    "PATCH /v1/twins/device/{name}": of("/v1/twins/device/{}", World.principal, PATCH),
    "DELETE /v1/twins/device/{name}": of("/v1/twins/device/{}", World.principal),
    "GET /v1/devices/{name}/twin": of(f"{DEVICE}/twin", World.principal),
}
