"""The way in: a credential for every route, and a browser's way to one (`edge.api.entrance` judges)."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from edge.api.entrance import COOKIE, Entrance
from edge.api.outcomes import Handler, answered, problem, read_body
from edge.api.page import page_file
from edge.api.parts import Api
from edge.api.schemas import SessionRequest
from shared.errors import RefusedError


def guarded(
    api: Api,
    entrance: Entrance,
    handler: Callable[[Api, Request], Awaitable[Response]],
    *,
    is_for_page: bool,
) -> Handler:
    """Default deny. `is_for_page`: also for browsers that signed in to the device's page."""

    async def handle(request: Request) -> Response:
        if not entrance.has_token(request.headers):
            if not is_for_page or not entrance.is_session(request.cookies.get(COOKIE, "")):
                return problem(
                    401, "unauthorized", f"A bearer token is needed; it is in {api.settings.api_token_path}."
                )
            check_browser(entrance, request)
        return await handler(api, request)

    return answered(handle)


def serve_page(entrance: Entrance) -> Handler:
    """The page itself tells nothing, so it needs no credential; but it is served under this device's names alone."""

    async def serve(request: Request) -> Response:
        _check_host(entrance, request)
        return page_file(request.url.path)

    return answered(serve)


def sign_in_door(api: Api, entrance: Entrance) -> Handler:
    async def sign_in(request: Request) -> Response:
        check_browser(entrance, request)
        body = await read_body(api, request, SessionRequest)
        if not entrance.is_token(body.token):
            raise RefusedError("That is not this device's token.", code="unauthorized")
        return Response(status_code=204, headers={"set-cookie": entrance.set_cookie(entrance.session())})

    return sign_in


def sign_out_door(entrance: Entrance) -> Handler:
    async def sign_out(request: Request) -> Response:
        check_browser(entrance, request)
        return Response(status_code=204, headers={"set-cookie": entrance.set_cookie("")})

    return sign_out


def _check_host(entrance: Entrance, request: Request) -> None:
    if not entrance.is_known_host(request.headers):
        raise RefusedError(
            "This device does not know that it has this name; open it by its address, or add the name to the setting"
            " page_hosts.",
            code="host_unknown",
        )


def check_browser(entrance: Entrance, request: Request) -> None:
    """Raises `RefusedError` for what a browser sends for somebody else's page."""
    _check_host(entrance, request)
    if not entrance.is_own_page(request.headers, request.method):
        raise RefusedError("This was not sent by the device's own page.", code="not_the_page")
