"""Bodies of requests about the memory. Imported by the first of them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.memory.items import NAME_MAX_CHARS, VALUE_MAX_CHARS
from shared.memory.mentions import ABOUT_MAX_CHARS
from shared.memory.statements import STATEMENT_MAX_CHARS


class MemoryAdd(BaseModel):
    """POST /memory: a sentence (`text`), or subject, relation and value. `since`: ISO time from which it is so."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: Annotated[str, Field(max_length=STATEMENT_MAX_CHARS)] = ""
    subject: Annotated[str, Field(max_length=NAME_MAX_CHARS)] = ""
    relation: Annotated[str, Field(max_length=NAME_MAX_CHARS)] = ""
    value: Annotated[str, Field(max_length=VALUE_MAX_CHARS)] = ""
    beside: bool = False
    scope: Literal["device", "site", "fleet"] = "device"
    since: Annotated[str, Field(max_length=40)] | None = None


class MemoryForget(BaseModel):
    """POST /memory/forget. `dry_run`: only count."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: Annotated[str, Field(max_length=ABOUT_MAX_CHARS * 2)]
    dry_run: bool = False
