"""The one table from error to answer: HTTP status, and exit code of `covey-hub`. Routes never build error responses.

An answer is `{code, message}`: the code is stable, for programs; the message is one sentence, for people. A conflict
also carries `current`: what stands there now, so that the caller can decide anew without asking again.
"""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from shared.errors import (
    CapacityError,
    ConfigError,
    ConflictError,
    CoveyError,
    ProtocolError,
    RefusedError,
    UnavailableError,
)

STATUS_BY_CLASS: Final[dict[type[CoveyError], int]] = {
    ProtocolError: 400,
    RefusedError: 409,
    UnavailableError: 503,
    CapacityError: 429,
    ConfigError: 500,
}
STATUS_BY_CODE: Final[dict[str, int]] = {
    "unauthorized": 401,
    "forbidden": 403,
    "tenant_unknown": 404,
    "token_expired": 403,
    "token_missing": 404,
    "token_revoked": 403,
    "token_unknown": 403,
    "restore_over": 403,
    "token_used": 403,
    "proof_invalid": 403,
    "renewal_refused": 403,
    "fetch_refused": 403,
    "grace_over": 403,
    "device_not_active": 403,
    "hub_clock": 503,
    "csrf": 403,
    "last_administrator": 403,
    "password_wrong": 403,
    "sign_in_refused": 403,
    "oidc_refused": 403,
    "id_token_invalid": 403,
    "oidc_state": 400,
    "user_unknown": 404,
    "role_unknown": 404,
    "api_token_unknown": 404,
    "password_weak": 422,
    "code_wrong": 422,
    "ticket_invalid": 422,
    "invalid": 422,
    "device_unknown": 404,
    "proposal_unknown": 404,
    "hub_question_unknown": 404,
    "same_person": 403,
    "not_yours": 403,
    "secret_name_invalid": 422,
    "secret_value_invalid": 422,
    "secret_too_large": 422,
    "entry_unknown": 404,
    "head_unknown": 404,
    "audit_unsound": 409,
    "letter_unknown": 404,
    "collection_unknown": 404,
    "item_unknown": 404,
    "rule_unknown": 404,
    "request_unknown": 404,
    "document_unknown": 404,
    "revision_unknown": 404,
    "release_unknown": 404,
    "approval_unknown": 404,
    "record_unknown": 404,
    "not_your_role": 403,
    "bundle_broken": 422,
    "bundle_for_others": 422,
    "waves_wrong": 422,
    "node_unknown": 404,
    "task_unknown": 404,
    "lane_unknown": 404,
    "body_too_large": 413,
    "goal_too_large": 413,
    "document_too_large": 413,
    "document_invalid": 422,
    "range_invalid": 422,
}
"""Codes whose status says more than their class does."""

STATUS_OF_HTTP: Final[dict[int, str]] = {404: "not_found", 405: "method_not_allowed"}
"""Codes for what the framework itself refuses."""

EXIT_CODES: Final[dict[type[CoveyError], int]] = {
    UnavailableError: 69,
    CapacityError: 75,
    ProtocolError: 76,
    RefusedError: 77,
    ConfigError: 78,
}
"""From sysexits.h: EX_UNAVAILABLE, EX_TEMPFAIL, EX_PROTOCOL, EX_NOPERM, EX_CONFIG."""


class Problem(BaseModel):
    """The body of every answer that is not a success. `current` is there only after a conflict."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    message: str
    current: dict[str, Any] | None = None

    def body(self) -> dict[str, Any]:
        # Not `exclude_none`: nulls within `current` mean something.
        return self.model_dump(exclude={"current"} if self.current is None else None)


PROBLEM_WORDS: Final[dict[str, str]] = {
    "4XX": "Refused: see `code`.",
    "5XX": "The hub cannot do it now: see `code`.",
}
"""What the API's description says of answers that are a `Problem`, by status."""


def problem_of(error: CoveyError) -> Problem:
    """What the caller is told about an error."""
    current = dict(error.current) if isinstance(error, ConflictError) else None
    return Problem(code=error.code, message=str(error), current=current)


def status_of(error: CoveyError) -> int:
    """The HTTP status of an error that reached a route's edge."""
    if error.code in STATUS_BY_CODE:
        return STATUS_BY_CODE[error.code]
    return next((status for kind, status in STATUS_BY_CLASS.items() if isinstance(error, kind)), 500)


def exit_code_of(error: CoveyError) -> int:
    """What `covey-hub` exits with."""
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 70)


def error_from_status(status: int, problem: Problem) -> CoveyError:
    """The error that a client of this API raises for an answer: the same class that the hub raised, as far as told."""
    if status in (400, 422):
        return ProtocolError(problem.message, code=problem.code)
    if status in (413, 429):
        return CapacityError(problem.message, bound=problem.code, limit=0, code=problem.code)
    if status >= 500:
        return UnavailableError(problem.message, code=problem.code)
    if problem.current is not None:
        return ConflictError(problem.message, current=problem.current, code=problem.code)
    return RefusedError(problem.message, code=problem.code)
