"""The bounds of one node's work. They travel with the offer and are enforced where the work is done."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Limits(BaseModel):
    """Reaching a limit ends the node as `failed` with the limit's name as reason; `wall_s` ends it as `timed_out`."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    turns: Annotated[int, Field(ge=1, le=100)] = 8
    tool_calls: Annotated[int, Field(ge=0, le=1_000)] = 16
    output_tokens: Annotated[int, Field(ge=1, le=100_000)] = 2_048
    wall_s: Annotated[int, Field(ge=1, le=604_800)] = 900
