"""What the API says and takes about knowledge."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, field_validator

from cloud.devices.schemas import ApiModel, LabelValue
from shared.enrolment import DeviceName, TenantName
from shared.knowledge.manifest import (
    DOCUMENT_ID_MAX_CHARS,
    LABELS_MAX,
    CollectionName,
    LabelName,
)

AUDIENCE_MAX = 1_000
QUERY_MAX_CHARS = 4_096
COLLECTIONS_MAX = 16
SEARCH_MAX_ROWS = 50

KnowledgeLabels = Annotated[list[LabelName], Field(max_length=LABELS_MAX)]


def check_document_name(name: str) -> str:
    """Raises `ValueError` for what no terminal, page or log should have to show."""
    if not 0 < len(name) <= DOCUMENT_ID_MAX_CHARS or not name.isprintable() or name != name.strip():
        raise ValueError(
            f"a document's name has 1 to {DOCUMENT_ID_MAX_CHARS} printable characters and no space around it"
        )
    return name


class Audience(ApiModel):
    """Which devices may have a collection: those of these sites or groups, and those named. Nothing named: all."""

    sites: Annotated[list[LabelValue], Field(max_length=AUDIENCE_MAX)] = Field(default_factory=list)
    groups: Annotated[list[LabelValue], Field(max_length=AUDIENCE_MAX)] = Field(default_factory=list)
    devices: Annotated[list[DeviceName], Field(max_length=AUDIENCE_MAX)] = Field(default_factory=list)

    @property
    def is_everyone(self) -> bool:
        return not (self.sites or self.groups or self.devices)

    def has(self, *, device: str, site: str | None, group: str | None) -> bool:
        return self.is_everyone or device in self.devices or site in self.sites or group in self.groups


class CreateCollection(ApiModel):
    name: CollectionName
    tenant: TenantName | None = None
    labels: KnowledgeLabels = Field(default_factory=list)
    audience: Audience = Audience()


class ChangeCollection(ApiModel):
    """What is null stays. New labels hold from the next revision on, which this asks for."""

    labels: KnowledgeLabels | None = None
    audience: Audience | None = None


class CollectionView(ApiModel):
    """`revision` 0: nothing was published yet. `waiting`, `ready`, `refused`: documents. `is_publishing`: somebody
    asked for a revision that is not there yet."""

    tenant: str
    name: str
    labels: list[str]
    audience: Audience
    revision: int
    root: str | None
    documents: int
    chunks: int
    waiting: int
    ready: int
    refused: int
    is_publishing: bool
    changed_at: datetime


class CollectionPage(ApiModel):
    """`next`: the value of `after` for the following page, null on the last."""

    collections: list[CollectionView]
    next: str | None


class DocumentView(ApiModel):
    """`code` and `message` say why it could not be read. `chunks` are of what serves, which may be an older version."""

    name: str
    state: str
    sha256: str
    size: int
    title: str | None
    media_type: str | None
    chunks: int
    code: str | None
    message: str | None
    warnings: list[str]
    changed_at: datetime


class DocumentPage(ApiModel):
    """`next`: the value of `after` for the following page, null on the last."""

    documents: list[DocumentView]
    next: str | None


class RevisionView(ApiModel):
    """`is_head`: the one that is searched, and that devices get."""

    number: int
    root: str
    documents: int
    chunks: int
    by: str
    rolled_back_to: int | None
    is_head: bool
    made_at: datetime


class RollBack(ApiModel):
    number: Annotated[int, Field(ge=1, le=2**63 - 1)]


class DeliveryView(ApiModel):
    """Where a device stands with a collection. `state`: ordered, applied, partial, refused, withdrawn."""

    device: str
    state: str
    ordered: int
    reported: int
    held_chunks: int
    chunks: int
    code: str | None
    changed_at: datetime


class SearchQuery(ApiModel):
    """`collections` empty: all of the tenant."""

    query: Annotated[str, Field(min_length=1, max_length=QUERY_MAX_CHARS)]
    tenant: TenantName | None = None
    collections: Annotated[list[CollectionName], Field(max_length=COLLECTIONS_MAX)] = Field(
        default_factory=list
    )
    limit: Annotated[int, Field(ge=1, le=SEARCH_MAX_ROWS)] = 10

    @field_validator("query")
    @classmethod
    def _has_words(cls, query: str) -> str:
        if not query.strip():
            raise ValueError("a question has at least one word")
        return query


class PassageView(ApiModel):
    """A passage and where it stands. `start` and `end`: characters of the document's text. `citation`: for people."""

    text: str
    headings: list[str]
    score: float
    citation: str
    collection: str
    revision: int
    document: str
    title: str
    page: int | None
    start: int
    end: int


class SearchView(ApiModel):
    """`is_supported` False: nothing found is good enough to answer from. `ranked_by`: `fused`, or `keywords` alone."""

    passages: list[PassageView]
    is_supported: bool
    ranked_by: str
    note: str | None


class Question(ApiModel):
    """`collections` empty: all of the tenant. `stream`: sentences as they come, as server-sent events."""

    question: Annotated[str, Field(min_length=1, max_length=QUERY_MAX_CHARS)]
    tenant: TenantName | None = None
    collections: Annotated[list[CollectionName], Field(max_length=COLLECTIONS_MAX)] = Field(
        default_factory=list
    )
    stream: bool = False

    @field_validator("question")
    @classmethod
    def _has_words(cls, question: str) -> str:
        if not question.strip():
            raise ValueError("a question has at least one word")
        return question


class SentenceView(ApiModel):
    """Event `sentence`: it stands in the source of that number."""

    text: str
    source: int


class CitedView(ApiModel):
    """`number` as in the answer's text."""

    number: int
    passage: PassageView


class AnswerView(ApiModel):
    """Event `answer`: the whole. `is_known` False: nothing in the collections supports an answer, and `text` says so.
    `by`: the model that worded it, or `quotes` for sentences as they stand. `dropped`: of the model's sentences those
    that no source supports. `labels`: of what it rests on."""

    text: str
    is_known: bool
    sources: list[CitedView]
    by: str
    dropped: int
    labels: list[str]
    note: str | None
