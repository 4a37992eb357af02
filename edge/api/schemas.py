"""Bodies that the local API accepts. The chat body is OpenAI's; of what it may carry, this is what a device honours."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.errors import RefusedError
from shared.inference.ports import Message
from shared.policy.bundle import SEALED_MAX_BYTES
from shared.records import MAX_LABELS, Code


class TextPart(BaseModel):
    """A part of a message. Devices read text only."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: str | tuple[TextPart, ...]

    def as_message(self) -> Message:
        """The message as the model port takes it."""
        text = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return Message("system" if self.role == "developer" else self.role, text)


class StreamOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    include_usage: bool = False


class JsonSchemaFormat(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    name: str = "answer"
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class ResponseFormat(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None


class ChatRequest(BaseModel):
    """POST /v1/chat/completions."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    model: str
    messages: Annotated[tuple[ChatMessage, ...], Field(min_length=1, max_length=1_000)]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=1, le=131_072)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=131_072)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: int | None = None
    stop: str | Annotated[tuple[str, ...], Field(max_length=4)] | None = None
    n: int = 1
    logprobs: bool | None = None
    response_format: ResponseFormat | None = None
    tools: tuple[Any, ...] | None = None
    user: Annotated[str, Field(max_length=128)] | None = None
    """For whom, as the caller says; rules read it as `asked_by.who`."""

    def json_schema(self) -> dict[str, Any] | None:
        """The schema that the answer must keep, if one was asked for."""
        if self.response_format is None or self.response_format.type == "text":
            return None
        if self.response_format.json_schema is not None:
            return self.response_format.json_schema.schema_
        return {"type": "object"}

    def check(self) -> None:
        """Raises `RefusedError` for what a device does not do, rather than ignoring it."""
        if self.n != 1:
            raise RefusedError("This device gives one answer at a time: n must be 1.", code="unsupported")
        if self.logprobs:
            raise RefusedError("This device does not report log probabilities.", code="unsupported")
        if (
            (wanted := self.response_format) is not None
            and wanted.type == "json_schema"
            and not wanted.json_schema
        ):
            raise RefusedError("A response_format of type json_schema needs its json_schema.", code="invalid")
        if self.tools:
            raise RefusedError(
                "Tools are the device's own: ask the model 'covey', which uses them under the device's rules.",
                code="unsupported",
            )


class TaskRequest(BaseModel):
    """POST /tasks: work for this device, done in the background."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    goal: Annotated[str, Field(min_length=1)]
    user: Annotated[str, Field(max_length=128)] = ""
    """For whom, as the caller says; rules read it as `asked_by.who`."""
    labels: Annotated[tuple[Code, ...], Field(max_length=MAX_LABELS)] = ()
    """What the request bears, such as `untrusted` for a text that came from elsewhere."""


class AnswerRequest(BaseModel):
    """POST /tasks/{task}/answer: whether the interrupted effect `call` happened."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    call: Annotated[int, Field(ge=0)]
    happened: bool
    node: Annotated[int, Field(ge=0)] = 0


class LinkRequest(BaseModel):
    """POST /link: stop or start the link to the hub; the device works on without it."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    enabled: bool


class PolicyRequest(BaseModel):
    """POST /policy: a signed bundle, in base64."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, val_json_bytes="base64")

    bundle: Annotated[bytes, Field(max_length=SEALED_MAX_BYTES)]


class VoteRequest(BaseModel):
    """POST /approvals/{nonce}: yes or no to a call that waits. `role` may be left out where only one is missing."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    granted: bool
    role: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")] | None = None
    by: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,127}$")] = "somebody-on-site"


class SessionRequest(BaseModel):
    """POST /page/session: a browser signs in with the local API's token."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    token: Annotated[str, Field(min_length=1, max_length=256)]


class StopRequest(BaseModel):
    """POST /stop: stop the device, or release what was stopped by hand."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    stopped: bool
