"""Was any row about people, their roles, sessions or tokens changed behind the hub's back (`cloud.people.seals`)?"""

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

from sqlmodel import Session, SQLModel, select

from cloud.caller import ROOT
from cloud.checks.subject import Subject
from cloud.people.seals import PeopleSeals, Sealed, label_of
from cloud.people.tables import ApiToken, BrowserSession, Membership, User
from cloud.row_seal import RowSeal
from shared.findings import Finding, fail, ok, some_of

NAME: Final = "people"
CHUNK_ROWS: Final = 1_000

Row = TypeVar("Row", bound=SQLModel)


def check(subject: Subject) -> Iterator[Finding]:
    if subject.identity is None or subject.database is None or not subject.has_tables:
        return
    seals = PeopleSeals(RowSeal(subject.identity.derive("rows")))
    with subject.database.read() as session:
        changed = [label_of(row) for row in _rows(session) if not seals.is_genuine(row)]
    yield judge(changed, subject.command("user list"))


def judge(changed: Sequence[str], command: str) -> Finding:
    """`changed`: the rows that are not as the hub wrote them."""
    if not changed:
        return ok(NAME, "Every row about people, roles, sessions and tokens is as the hub wrote it.")
    return fail(
        NAME,
        f"Changed behind the hub's back, so that nobody gets in by it: {some_of(changed)};"
        " find out who can write to the database, then delete these and make them anew.",
        command,
    )


def _rows(session: Session) -> Iterator[Sealed]:
    yield from _each(session, User)
    yield from _each(session, Membership)
    yield from _each(session, ApiToken)
    for row in _each(session, BrowserSession):
        # Those of the admin token end with it, which is no tampering.
        if row.user_name != ROOT:
            yield row


def _each(session: Session, table: type[Row]) -> Iterator[Row]:
    yield from session.exec(select(table).execution_options(yield_per=CHUNK_ROWS))
