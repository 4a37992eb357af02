"""An OpenID Connect provider over HTTPS: discovery, authorization code with PKCE, id token. Blocking.

Authlib speaks OAuth 2.0, joserfc verifies the signature. An id token counts only with an asymmetric algorithm of
`ALGORITHMS` under a key of the provider's own set (OpenID Connect Core, 3.1.3.7): never `none`, and never HMAC, whose
key would be what the hub knows. Foreign errors end here.
"""

import hmac
import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote, urlsplit

import httpx
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.client import OAuth2Client
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet, KeySetSerialization

from cloud.people.oidc import SUBJECT_MAX_CHARS, Flow, Subject
from shared.errors import ConfigError, ProtocolError, RefusedError, UnavailableError

TIMEOUT_S: Final = 10.0
ANSWER_MAX_BYTES: Final = 262_144
ID_TOKEN_MAX_CHARS: Final = 16_384
SCOPE: Final = "openid profile"
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
LEEWAY_S: Final = 60
"""By which the provider's clock may differ from ours."""
DESCRIPTION_LIFE_S: Final = 3_600.0
KEYS_LIFE_S: Final = 3_600.0
KEYS_REFETCH_MIN_S: Final = 30.0
"""A key that is not known is looked for at most so often: anybody may name one."""
RETRY_MIN_S: Final = 5.0
"""After it did not answer, the provider is asked again at most so often; nobody's request waits for it meanwhile."""
TIMES: Final = (int, float)
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")

_SILENT: Final = "The identity provider does not answer; try again later."
_DESCRIPTION_PATH: Final = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who we are to the provider. `secret` None: a public client, which PKCE alone protects."""

    id: str
    secret: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Description:
    """What the provider says of itself (OpenID Connect Discovery 1.0, section 3)."""

    authorization: str
    token: str
    keys: str
    posts_secret: bool


class AuthlibProvider:
    """A `cloud.people.oidc.IdentityProvider`. Thread-safe."""

    def __init__(
        self,
        issuer: str,
        client: Client,
        *,
        ca_file: Path | None = None,
        keys_refetch_min_s: float = KEYS_REFETCH_MIN_S,
    ) -> None:
        """`ca_file`: whom to believe instead of the system's authorities. Raises `ConfigError` if it holds none."""
        self._issuer = issuer
        self._client = client
        self._keys_refetch_min_s = keys_refetch_min_s
        try:
            self._trust = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        except OSError as error:
            raise ConfigError(f"{ca_file} holds no certificate; correct `oidc_ca_file`.") from error
        self._lock = threading.Lock()
        self._description: tuple[float, _Description] | None = None
        self._keys: tuple[float, KeySet] | None = None
        self._silent_since: float | None = None

    @property
    def issuer(self) -> str:
        return self._issuer

    def address(self, flow: Flow, *, redirect_url: str) -> str:
        authorization = self._described().authorization
        with self._http() as http:
            address, _ = self._oauth(http, redirect_url).create_authorization_url(
                authorization,
                state=flow.state,
                nonce=flow.nonce,
                code_verifier=flow.verifier,
            )
        return str(address)

    def redeem(self, code: str, flow: Flow, *, redirect_url: str, now: datetime) -> Subject:
        description = self._described()
        secret, more = self._client.secret, {}
        auth: httpx.Auth = httpx.Auth()  # says nothing
        if secret is None or description.posts_secret:
            more = {"client_id": self._client.id} | ({} if secret is None else {"client_secret": secret})
        else:
            # RFC 6749, section 2.3.1: both are form-encoded first.
            auth = httpx.BasicAuth(quote(self._client.id, safe=""), quote(secret, safe=""))
        with self._http() as http:
            answer = self._oauth(http, redirect_url).fetch_token(
                description.token,
                grant_type="authorization_code",
                code=code,
                code_verifier=flow.verifier,
                auth=auth,
                **more,
            )
        id_token = answer.get("id_token")
        if not isinstance(id_token, str) or len(id_token) > ID_TOKEN_MAX_CHARS:
            raise _invalid("it sent no id token")
        return self._subject_of(self._verified(id_token), flow, now)

    def _oauth(self, http: httpx.Client, redirect_url: str) -> OAuth2Client:
        # One each time: Authlib keeps the last token in it.
        return OAuth2Client(
            http,
            client_id=self._client.id,
            scope=SCOPE,
            redirect_uri=redirect_url,
            code_challenge_method="S256",
        )

    def _verified(self, id_token: str) -> Mapping[str, Any]:
        """The claims of a token that a key of the provider signed."""
        try:
            try:
                return jwt.decode(id_token, self._key_set(), algorithms=ALGORITHMS).claims
            except InvalidKeyIdError:
                fresh = self._key_set(is_unknown=True)
                return jwt.decode(id_token, fresh, algorithms=ALGORITHMS).claims
        except (JoseError, ValueError, TypeError) as error:
            raise _invalid("its signature is not the provider's") from error

    def _subject_of(self, claims: Mapping[str, Any], flow: Flow, now: datetime) -> Subject:
        at_s = now.timestamp()
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        party = claims.get("azp", self._client.id if len(audiences) == 1 else None)
        nonce, subject = claims.get("nonce"), claims.get("sub")
        expires, issued, begins = claims.get("exp"), claims.get("iat"), claims.get("nbf", 0)
        if claims.get("iss") != self._issuer:
            raise _invalid("another provider issued it")
        if self._client.id not in audiences or party != self._client.id:
            raise _invalid("it is for somebody else")
        if not (isinstance(expires, TIMES) and isinstance(issued, TIMES) and isinstance(begins, TIMES)):
            raise _invalid("it has no times")
        if expires + LEEWAY_S <= at_s:
            raise _invalid("it has expired")
        if max(issued, begins) - LEEWAY_S > at_s:
            raise _invalid("it is of the future; compare the clocks")
        if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), flow.nonce.encode()):
            raise _invalid("it answers another sign-in")
        if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_MAX_CHARS or "\x00" in subject:
            raise _invalid("it names nobody")
        wish = claims.get("preferred_username")
        return Subject(
            issuer=self._issuer, subject=subject, preferred_name=wish if isinstance(wish, str) else ""
        )

    def _described(self) -> _Description:
        with self._lock:
            known = self._description
            if known is not None and time.monotonic() - known[0] < DESCRIPTION_LIFE_S:
                return known[1]
            said = self._get(self._issuer.rstrip("/") + _DESCRIPTION_PATH)
            if said.get("issuer") != self._issuer:
                raise ProtocolError("The identity provider calls itself otherwise; correct `oidc_issuer`.")
            methods = said.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
            description = _Description(
                authorization=self._secure(said.get("authorization_endpoint")),
                token=self._secure(said.get("token_endpoint")),
                keys=self._secure(said.get("jwks_uri")),
                posts_secret="client_secret_basic" not in methods,
            )
            self._description = (time.monotonic(), description)
            return description

    def _key_set(self, *, is_unknown: bool = False) -> KeySet:
        """The provider's keys; `is_unknown`: a key is named that is not among those that we have."""
        address = self._described().keys
        with self._lock:
            if self._keys is not None:
                life_s = self._keys_refetch_min_s if is_unknown else KEYS_LIFE_S
                if time.monotonic() - self._keys[0] < life_s:
                    return self._keys[1]
            said = self._get(address).get("keys")
            usable = [
                key
                for key in (said if isinstance(said, list) else [])
                if isinstance(key, dict) and key.get("kty") != "oct" and key.get("use", "sig") == "sig"
            ]
            try:
                keys = KeySet.import_key_set(cast("KeySetSerialization", {"keys": usable}))
            except (JoseError, ValueError, TypeError, KeyError) as error:
                raise ProtocolError("The identity provider shows no keys that the hub can use.") from error
            self._keys = (time.monotonic(), keys)
            return keys

    def _get(self, url: str) -> Mapping[str, Any]:
        """A JSON object of bounded size. Under the lock."""
        if self._silent_since is not None and time.monotonic() - self._silent_since < RETRY_MIN_S:
            raise UnavailableError(_SILENT)
        body = bytearray()
        try:
            with self._http() as http, http.stream("GET", url) as answer:
                answer.raise_for_status()
                for part in answer.iter_bytes():
                    body += part
                    if len(body) > ANSWER_MAX_BYTES:
                        raise ValueError("too long")
        except UnavailableError:
            self._silent_since = time.monotonic()
            raise
        try:
            said = json.loads(bytes(body))
        except ValueError as error:
            raise ProtocolError("The identity provider does not answer in JSON.") from error
        if not isinstance(said, dict):
            raise ProtocolError("The identity provider does not answer as OpenID Connect says.")
        return said

    def _secure(self, url: object) -> str:
        """An address that the provider named. Plain HTTP only within this machine, for trying things out."""
        if isinstance(url, str) and is_secure(url):
            return url
        raise ProtocolError(
            "The identity provider names an address that is not https; the hub does not go there."
        )

    @contextmanager
    def _http(self) -> Iterator[httpx.Client]:
        """A client for one conversation: people sign in rarely."""
        try:
            with httpx.Client(verify=self._trust, timeout=TIMEOUT_S, trust_env=False) as http:
                yield http
        except OAuth2Error as error:
            raise RefusedError("The identity provider refused the sign-in.", code="oidc_refused") from error
        except (httpx.HTTPStatusError, ValueError) as error:
            raise ProtocolError("The identity provider does not answer as OpenID Connect says.") from error
        except (httpx.HTTPError, OSError) as error:
            raise UnavailableError(_SILENT) from error


def is_secure(url: str) -> bool:
    """https, or http to this very machine."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)


def _invalid(why: str) -> ProtocolError:
    return ProtocolError(f"The identity provider's answer does not count: {why}.", code="id_token_invalid")
