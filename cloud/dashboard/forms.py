"""What browsers send from our plain forms, and whether they do so on purpose.

Each form of a signed-in browser carries a token of its session. A page of somebody else cannot know it, so it cannot
make the browser change anything, even if it got past what the door looks at (`Origin`, `Sec-Fetch-Site`).
"""

import hmac
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qs

from fastapi import Request

from cloud.people.browser_sessions import SignedIn
from shared.errors import ProtocolError, RefusedError

FORM_MAX_BYTES: Final = 8_192
FORM_MAX_FIELDS: Final = 8
CSRF_FIELD: Final = "csrf"


async def fields_of(request: Request) -> Mapping[str, str]:
    """A form (application/x-www-form-urlencoded); empty if it is none of ours."""
    body = await request.body()
    if len(body) > FORM_MAX_BYTES:
        return {}
    try:
        found = parse_qs(body.decode("ascii"), max_num_fields=FORM_MAX_FIELDS)
    except ValueError:
        return {}
    return {name: values[0] for name, values in found.items()}


def signed_in_at(request: Request) -> SignedIn:
    """Whose browser it is: the door let it in. Raises `ProtocolError` (code `unauthorized`) for nobody's."""
    signed_in = request.scope.get("state", {}).get("signed_in")
    if not isinstance(signed_in, SignedIn):
        raise ProtocolError("Sign in first.", code="unauthorized")
    return signed_in


def check_intended(signed_in: SignedIn, fields: Mapping[str, str]) -> None:
    """Raises `RefusedError` (code `csrf`) for a form that is not one of this session's own."""
    given = fields.get(CSRF_FIELD, "")
    if not hmac.compare_digest(given.encode(errors="replace"), signed_in.csrf_token.encode()):
        raise RefusedError("This form is not of your session; go back, load the page anew.", code="csrf")
