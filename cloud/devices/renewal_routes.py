"""`POST /v1/renew`: a device whose certificate has ended, and which the broker therefore does not let in (rule P25)."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from cloud.db import Database
from cloud.devices.renewal import Renewals, check_request, renew_by_https
from cloud.whole_models import build
from shared.clock import Clock
from shared.renewal import RENEW_PATH, RenewByHttps, RenewedCertificate


def _address(request: Request) -> str:
    return "" if request.client is None else request.client.host


Address = Annotated[str, Depends(_address)]


def renewal_routes(*, database: Database, renewals: Renewals, clock: Clock) -> APIRouter:
    """Open to everybody (`cloud.http_gate.OPEN_PATHS`): the request proves by itself whose it is."""
    build(RenewByHttps, RenewedCertificate)
    router = APIRouter(tags=["enrolment"])

    @router.post(RENEW_PATH)
    def renew(request: RenewByHttps, address: Address) -> RenewedCertificate:
        """A new certificate for a device, by proof of its signing key and of its old certificate's key."""
        with database.read() as session:
            check_request(session, request, renewals.rules, now=clock.now())
        with database.write() as session:
            return renew_by_https(session, request, renewals, now=clock.now(), address=address)

    return router
