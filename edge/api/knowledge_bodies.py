"""Bodies of requests about knowledge. Imported by the first of them: most devices are never asked."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from shared.records import CollectionName

QUESTION_MAX_CHARS = 4_000


class KnowledgeQuery(BaseModel):
    """POST /knowledge/search. `collections` empty: all that the device holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: Annotated[str, Field(min_length=1, max_length=QUESTION_MAX_CHARS, pattern=r"\S")]
    collections: Annotated[list[CollectionName], Field(max_length=64)] = Field(default_factory=list)
    limit: Annotated[int, Field(ge=1, le=100)] = 10


class KnowledgeQuestion(BaseModel):
    """POST /knowledge/ask. `stream`: sentence by sentence, as server-sent events."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: Annotated[str, Field(min_length=1, max_length=QUESTION_MAX_CHARS, pattern=r"\S")]
    collections: Annotated[list[CollectionName], Field(max_length=64)] = Field(default_factory=list)
    stream: bool = False
