"""What the API shows of the audit log. Hashes are hexadecimal."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

REASON_MAX_CHARS = 500


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EntryView(_View):
    """A deed: who did what to what, when and from where. `content_sha256`: of what it was about (a document, a reason).

    `vouches_for`: of an entry that the hub made about devices' logs, where each stood.
    """

    seq: int
    at: datetime
    tenant: str | None
    actor: str
    means: str
    address: str
    action: str
    target: str
    content_sha256: str | None
    detail: dict[str, str | int | bool]
    vouches_for: list[str]
    leaf_hash: str


class EntryPage(_View):
    """Newest first. `next`: ask with `before` for the page after; None at the end."""

    entries: list[EntryView]
    next: int | None


class HeadView(_View):
    """The newest signed head: keep `head` (one word), which `covey-hub audit verify --head` takes."""

    size: int
    root: str
    chain: str
    at: datetime
    kid: str
    root_key: str
    head: str


class InclusionProof(_View):
    """That entry `seq` is in the tree of `size` entries under `root` (RFC 9162, 2.1.3)."""

    seq: int
    size: int
    leaf_hash: str
    path: list[str]
    root: str


class ConsistencyProof(_View):
    """That the tree of `old` entries is the beginning of that of `new` (RFC 9162, 2.1.4)."""

    old: int
    new: int
    old_root: str
    new_root: str
    path: list[str]


class AuditState(_View):
    """Whether the log is what the hub wrote and signed. `since`: from this entry on nothing is sure, if it is not;
    `mark` stands for exactly these problems, and is what accepting them takes."""

    size: int
    is_sound: bool
    since: int
    problems: list[str]
    mark: str | None


class AcceptBreak(_View):
    """`reason`: what happened, as the auditor shall read it."""

    mark: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    reason: Annotated[
        str,
        StringConstraints(
            strip_whitespace=True,
            min_length=1,
            max_length=REASON_MAX_CHARS,
            pattern=r"^[^\x00-\x1f\x7f-\x9f]*$",
        ),
    ]


class AcceptedBreak(_View):
    """`entry`: the number of the entry that says so; `lost`: entries in whose place now stands that they are lost."""

    entry: int
    since: int
    lost: int
