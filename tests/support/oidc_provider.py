"""A small OpenID Connect provider on 127.0.0.1, with real keys: discovery, authorize, token and key set.

    with running_provider() as provider:
        ...                              # provider.issuer goes into the hub's settings
        provider.subject = "carol"       # who is sitting at the browser
        provider.claims = {"aud": "x"}   # what the next id token says otherwise

It keeps the rules that a hub relies on (codes count once, PKCE, the client's secret), unless a test tells it otherwise.
"""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

CLIENT_ID = "covey-hub"
CLIENT_SECRET = "a secret: with % signs"
CODE_LIFE_S = 60.0

Key = RSAKey | ECKey | OctKey


class OidcProvider:
    """What the provider knows. Attributes are changed by tests while it runs."""

    def __init__(self) -> None:
        self.issuer = ""
        self.subject = "carol"
        self.name = "carol"
        self.key: Key = RSAKey.generate_key(2_048, {"kid": "rsa-1", "use": "sig"})
        self.shown: list[Key] = [self.key]
        self.algorithm = "RS256"
        self.claims: dict[str, Any] = {}
        self.without: tuple[str, ...] = ()
        self.sign: Callable[[dict[str, Any]], str] = self.signed
        self.lets_codes_come_twice = False
        self.now: Callable[[], float] = time.time
        self.asked: list[str] = []
        self.redeemed: list[dict[str, str]] = []
        self._codes: dict[str, dict[str, str]] = {}

    def description(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256"],
            "code_challenge_methods_supported": ["S256"],
        }

    def key_set(self) -> dict[str, Any]:
        return {"keys": [key.as_dict(private=False) for key in self.shown]}

    def authorize(self, query: dict[str, str]) -> str:
        """Where the browser is sent back to: the person agrees to everything."""
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT_ID
        assert "openid" in query["scope"].split()
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self._codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def token(self, authorization: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        self.redeemed.append(form)
        if _client_of(authorization) != (CLIENT_ID, CLIENT_SECRET):
            return 401, {"error": "invalid_client"}
        code = form.get("code", "")
        asked = self._codes.get(code) if self.lets_codes_come_twice else self._codes.pop(code, None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if (
            asked is None
            or form.get("redirect_uri") != asked["redirect_uri"]
            or challenge.decode().rstrip("=") != asked["code_challenge"]
        ):
            return 400, {"error": "invalid_grant"}
        now = int(self.now())
        claims = {
            "iss": self.issuer,
            "sub": self.subject,
            "aud": CLIENT_ID,
            "exp": now + 300,
            "iat": now,
            "nonce": asked["nonce"],
            "preferred_username": self.name,
            **self.claims,
        }
        for name in self.without:
            claims.pop(name)
        return 200, {
            "access_token": secrets.token_urlsafe(16),
            "token_type": "Bearer",
            "expires_in": 300,
            "id_token": self.sign(claims),
        }

    def signed(self, claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": self.algorithm, "kid": self.key.kid}, claims, self.key, [self.algorithm])


@contextmanager
def running_provider() -> Iterator[OidcProvider]:
    """Until the block ends."""
    provider = OidcProvider()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(provider))
    server.daemon_threads = True
    provider.issuer = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


def _handler(provider: OidcProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            provider.asked.append(parts.path)
            match parts.path:
                case "/.well-known/openid-configuration":
                    self._say(200, provider.description())
                case "/jwks":
                    self._say(200, provider.key_set())
                case "/authorize":
                    self.send_response(303)
                    self.send_header("Location", provider.authorize(_single(parts.query)))
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                case _:
                    self._say(404, {})

        def do_POST(self) -> None:
            provider.asked.append(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
            self._say(*provider.token(self.headers.get("Authorization", ""), _single(body)))

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            pass

        def _say(self, status: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _single(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text).items()}


def _client_of(authorization: str) -> tuple[str, str]:
    """RFC 6749, section 2.3.1: Basic, both parts form-encoded."""
    if not authorization.startswith("Basic "):
        return "", ""
    client, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
    return unquote(client), unquote(secret)
