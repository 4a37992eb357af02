"""The doors to a language model and to an embedding model, the same for the device and the hub, and what goes through.

Values and protocols alone: who decides what to ask imports this module and no other of this package. Each port has
its real implementations here (`model_llama`, `model_openai`, `installed`, `embed_llama`) and an in-memory one in
`tests/support`, and they obey the same contract test. Implementations raise only `shared.errors`.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation as the model sees it."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What to generate. `json_schema` constrains decoding: the text is then valid JSON for that schema."""

    messages: Sequence[Message]
    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: Sequence[str] = ()
    json_schema: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer, in order, never empty, always whole characters."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The last item of every stream that was not cancelled. Times in milliseconds from the call of `generate`."""

    finish: FinishReason
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    first_token_ms: float
    total_ms: float


class LanguageModel(Protocol):
    """A local or remote instruct model.

    `generate` streams; closing the iterator early (`aclose`) cancels the generation, also while the prompt is being
    evaluated, and frees the model for the next caller. Callers wait for one another in order.

    Raises (from the first `anext`): `CapacityError` (bound `context_tokens`) for a prompt that leaves no room for an
    answer, `ConfigError` for a missing or broken model file, `UnavailableError` for a server that does not answer.
    """

    @property
    def name(self) -> str:
        """The catalogue name, as journalled with every call and listed in /v1/models."""
        ...

    @property
    def context_tokens(self) -> int: ...

    def generate(self, generation: Generation) -> AsyncGenerator[TextDelta | Finished, None]: ...

    async def close(self) -> None:
        """Unload. The model may be used again afterwards and loads itself anew."""
        ...


class TextEmbedder(Protocol):
    """What compares texts by meaning."""

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Unit vectors, one a text, in order. Raises `ConfigError` if the embedding model is not installed."""
        ...


class EmbeddingModel(TextEmbedder, Protocol):
    """A `TextEmbedder` that says which model it is and how it counts, for whoever cuts texts and stores vectors."""

    @property
    def text_tokens_max(self) -> int:
        """Tokens of a text that its vector is made from; the rest of it is left out."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens of a text as this model reads it, without those that it puts around it.

        Blocking: about half a microsecond a token, and a tenth of a second the first time; does not load the weights.
        From any thread. Raises `ConfigError` if the embedding model is not installed.
        """
        ...

    async def fingerprint(self) -> bytes:
        """SHA-256 of the model's file. Vectors of models with different ones must not be compared.

        Raises `ConfigError` if the embedding model is not installed.
        """
        ...

    async def close(self) -> None:
        """Unload. It may be used again afterwards and loads itself anew."""
        ...
