"""The device's own page: three files as they are, with the headers that keep a browser from doing more with them.

Whatever the page shows of models, tools and people it sets as text; the policy of trusted types makes the browser
refuse anything else. Nothing is loaded from elsewhere.
"""

from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

FILES: Final[Mapping[str, tuple[str, str]]] = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
"""By path: the file and its type."""
HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script';"
    " trusted-types 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}


def page_file(path: str) -> Response:
    """A file of the page; read each time, since an idle device has better use for its memory."""
    from importlib.resources import files  # loaded with the first visitor: an idle device does without

    name, kind = FILES[path]
    content = files("edge.api.page").joinpath(name).read_bytes()
    return Response(content, headers={**HEADERS, "content-type": kind})
