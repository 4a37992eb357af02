"""`POST /v1/knowledge-fetch`: a device that takes up a revision asks for what it lacks (rule P29)."""

from fastapi import APIRouter
from fastapi.responses import Response

from cloud.db import Database
from cloud.knowledge.fetching import FetchDesk
from shared.knowledge.fetch import FETCH_PATH, FetchByHttps

BINARY = "application/octet-stream"


def fetch_routes(*, database: Database) -> APIRouter:
    """Open to everybody (`cloud.http_gate.OPEN_PATHS`): the request proves by itself whose it is."""
    router = APIRouter(tags=["knowledge"])
    desk = FetchDesk()

    @router.post(FETCH_PATH, response_class=Response, responses={200: {"content": {BINARY: {}}}})
    def fetch(request: FetchByHttps) -> Response:
        """A manifest, a delta, or contents, for the device whose key signed the request."""
        with database.read() as session:
            content = desk.answer(session, request)
        return Response(content, media_type=BINARY)

    return router
