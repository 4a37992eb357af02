"""What the API shows of the audit log. Hashes are hexadecimal."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict


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
