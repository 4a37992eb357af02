"""Who may come in to the local API: whoever holds its token, and browsers that signed in with it to the page.

A browser gets a cookie that says until when it is good, under a MAC whose key follows from the token: nothing is
stored, a restart signs nobody out, and another token signs everybody out. The cookie reaches only what the page needs,
and only

* under a name that nobody else can point at this device (DNS rebinding): an address, `localhost`, or one that a setting
  names. A page of somebody else's that has its own name resolve to this device has another `Host`;
* from the page itself (request forgery): what changes something bears a header that no foreign page can send, beside
  `SameSite=Strict` and the `Origin` that browsers tell.

Must not know what the routes do.
"""

import hashlib
import hmac
from collections.abc import Collection, Mapping
from datetime import timedelta
from ipaddress import ip_address
from typing import Final

from shared.clock import Clock

COOKIE: Final = "covey-page"
PAGE_HEADER: Final = "x-covey-page"
"""What the page sends with each request; a foreign page needs this device's leave to send it, and never gets it."""
LOCAL_NAMES: Final = frozenset({"localhost"})
_CONTEXT: Final = b"covey page session 1"
_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})


class Entrance:
    """Judges requests by their headers. `names`: under which people also reach this device's page."""

    def __init__(self, *, token: str, names: Collection[str], life: timedelta, clock: Clock) -> None:
        self._token = token.encode()
        self._names = LOCAL_NAMES | {name.lower().rstrip(".") for name in names}
        self._life_s = int(life.total_seconds())
        self._clock = clock

    def has_token(self, headers: Mapping[str, str]) -> bool:
        """Whether the request shows the token itself."""
        return self.is_token(headers.get("authorization", "").removeprefix("Bearer ").strip())

    def is_token(self, given: str) -> bool:
        return bool(given) and hmac.compare_digest(given.encode(errors="replace"), self._token)

    def is_known_host(self, headers: Mapping[str, str]) -> bool:
        """Whether the request is for a name that only this device can have."""
        return _is_address(host := _name_of(headers.get("host", ""))) or host in self._names

    def is_own_page(self, headers: Mapping[str, str], method: str) -> bool:
        """Whether the request comes from this device's page, as far as it changes anything."""
        if method in _SAFE_METHODS:
            return True
        origin = headers.get("origin")
        is_same = origin is None or origin.partition("://")[2] == headers.get("host")
        return is_same and headers.get(PAGE_HEADER) == "1"

    def session(self) -> str:
        """A cookie's value, good from now on."""
        ends = int(self._clock.now().timestamp()) + self._life_s
        return f"{ends}.{self._mac(ends)}"

    def is_session(self, value: str) -> bool:
        """Whether a cookie's value is one of ours and still good. One that would last longer than any is not:
        the clock was set back."""
        text, _, mac = value.partition(".")
        if not text.isascii() or not text.isdecimal() or len(text) > 12:
            return False
        ends = int(text)
        if not hmac.compare_digest(mac.encode(errors="replace"), self._mac(ends).encode()):
            return False
        return 0 < ends - self._clock.now().timestamp() <= self._life_s

    def set_cookie(self, value: str) -> str:
        """The header that gives a browser a session; with an empty value the one that takes it away."""
        age = self._life_s if value else 0
        return f"{COOKIE}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict"

    def _mac(self, ends: int) -> str:
        key = hashlib.sha256(_CONTEXT + self._token).digest()
        return hmac.new(key, str(ends).encode(), hashlib.sha256).hexdigest()


def _name_of(host: str) -> str:
    """The name in a `Host` header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
