"""HTTP for the hub's own keys. Plain functions: FastAPI runs them in worker threads."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from cloud.access import HubAdmin, HubReader
from cloud.consent.second_person import PROPOSED, SecondPerson
from cloud.keys.deeds import ROTATE, KeyKeeper, Rotation
from cloud.keys.listing import list_keys
from cloud.keys.schemas import KeyView, Rotatable, RotatedKey, RotateKey


def key_routes(*, keeper: KeyKeeper, consent: SecondPerson | None = None) -> APIRouter:
    """The hub's keys concern all tenants. Private keys do not travel: the root's leaves by `covey-hub keys` alone."""
    router = APIRouter(prefix="/v1/keys", tags=["keys"])

    @router.get("")
    def show_keys(_: HubReader) -> list[KeyView]:
        """Every key: what for, since when, until when, and whether its private half is here."""
        return list_keys(keeper.identity.paths)

    @router.post("/{purpose}/rotate", response_model=RotatedKey, responses=PROPOSED)
    def rotate_key(
        purpose: Annotated[Rotatable, Path()], request: RotateKey, caller: HubAdmin
    ) -> RotatedKey | Response:
        """A new key in the place of the present one. Devices and the hub's processes follow by themselves."""
        wanted = Rotation(purpose=purpose, by_root=request.by_root)
        if consent is not None and consent.needs(ROTATE):
            return consent.ask(
                caller, ROTATE, target=purpose, tenant=None, content=wanted.model_dump(mode="json")
            )
        return keeper.rotate(wanted, caller)

    return router
