"""The two-person rule put together: what `cloud.wiring` and tests need of it."""

from dataclasses import dataclass
from datetime import timedelta

from fastapi import APIRouter

from cloud.consent.deeds import Deed, by_name
from cloud.consent.routes import consent_routes
from cloud.consent.seals import ProposalSeals
from cloud.consent.second_person import SecondPerson
from cloud.consent.service import Rule
from cloud.db import Database
from cloud.people.seals import PeopleSeals
from cloud.row_seal import RowSeal
from cloud.settings import HubSettings
from shared.clock import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """`second_person` is for the routes of what may need one, `routes` are for deciding."""

    second_person: SecondPerson
    routes: APIRouter


def assemble(
    *,
    database: Database,
    settings: HubSettings,
    clock: Clock,
    rows: RowSeal,
    people: PeopleSeals,
    deeds: list[Deed],
) -> Consent:
    """Raises `ConfigError` if the setting `two_person_actions` names what is no deed."""
    rule = Rule(
        deeds=by_name(deeds, settings.two_person_actions),
        life=timedelta(seconds=settings.proposal_ttl_s),
        seals=ProposalSeals(rows),
        people=people,
    )
    return Consent(
        second_person=SecondPerson(
            database=database, clock=clock, rule=rule, required=settings.two_person_actions
        ),
        routes=consent_routes(database=database, settings=settings, clock=clock, rule=rule),
    )
