"""LanguageModel over any server that speaks OpenAI's chat completions: llama.cpp's server, vLLM, Ollama, a gateway.

Streams server-sent events. Requests go out one at a time and in order, as the port says. Everything that the server
sends is bounded and checked; nothing is retried here. `httpx` is imported on first use.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

from shared.errors import (
    CapacityError,
    ConfigError,
    CoveyError,
    ProtocolError,
    RefusedError,
    UnavailableError,
)
from shared.inference.ports import Finished, FinishReason, Generation, TextDelta
from shared.inference.text_stream import TextStream

if TYPE_CHECKING:
    import httpx

MAX_LINE_BYTES: Final = 1 << 20
MAX_ANSWER_CHARACTERS: Final = 1 << 22
MAX_ERROR_BYTES: Final = 1 << 16
MAX_CONNECTIONS: Final = 2
SHOWN_REASON_CHARACTERS: Final = 200
TRANSIENT_STATUSES: Final = frozenset({408, 409, 425, 429})
FINISH_REASONS: Final[Mapping[str, FinishReason]] = {"stop": "stop", "length": "length", "eos": "stop"}


class OpenAIModel:
    def __init__(
        self,
        *,
        name: str,
        base_url: str,
        remote_model: str,
        context_tokens: int,
        api_key: str | None = None,
        connect_timeout_s: float = 5.0,
        silence_timeout_s: float = 120.0,
    ) -> None:
        """`base_url` ends before "/chat/completions". `silence_timeout_s` also bounds the wait for the first token."""
        self._name = name
        self._base_url = base_url.rstrip("/")
        self._remote_model = remote_model
        self._context_tokens = context_tokens
        self._api_key = api_key
        self._connect_timeout_s = connect_timeout_s
        self._silence_timeout_s = silence_timeout_s
        self._client: httpx.AsyncClient | None = None
        self._turn = asyncio.Lock()

    @property
    def name(self) -> str:
        return self._name

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    def generate(self, generation: Generation) -> AsyncGenerator[TextDelta | Finished, None]:
        return self._stream(generation, began=time.perf_counter())

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _stream(
        self, generation: Generation, *, began: float
    ) -> AsyncGenerator[TextDelta | Finished, None]:
        import httpx

        if generation.max_tokens < 1:
            raise ProtocolError("max_tokens must be at least 1.")
        answer = _Answer(generation, began=began)
        async with self._turn, AsyncExitStack() as stack:
            try:
                response = await stack.enter_async_context(
                    self._open().stream("POST", "chat/completions", json=self._request(generation))
                )
                if response.status_code != 200:
                    raise self._refusal(response.status_code, await _start_of(response))
                async for line in _lines(response):
                    if text := answer.take(line):
                        yield TextDelta(text)
                    if answer.complete:
                        break
            except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
                raise UnavailableError(
                    f"The model server at {self._base_url} does not answer: is it running?"
                ) from exc
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as exc:
                raise ConfigError(f"{self._base_url!r} is not the address of a model server.") from exc
            except httpx.RequestError as exc:
                reason = str(exc).rstrip(".") or type(exc).__name__
                raise UnavailableError(f"The model server at {self._base_url} broke off: {reason}.") from exc
            if text := answer.rest():
                yield TextDelta(text)
            yield answer.finished()

    def _open(self) -> "httpx.AsyncClient":
        if self._client is None:
            import httpx

            headers = {"Authorization": f"Bearer {self._api_key}"} if self._api_key else {}
            self._client = httpx.AsyncClient(
                base_url=self._base_url + "/",
                headers=headers,
                timeout=httpx.Timeout(self._silence_timeout_s, connect=self._connect_timeout_s),
                limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
            )
        return self._client

    def _request(self, generation: Generation) -> dict[str, object]:
        request: dict[str, object] = {
            "model": self._remote_model,
            "messages": [
                {"role": message.role, "content": message.content} for message in generation.messages
            ],
            "max_tokens": generation.max_tokens,
            "temperature": generation.temperature,
            "top_p": generation.top_p,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if generation.seed is not None:
            request["seed"] = generation.seed
        if generation.stop:
            request["stop"] = list(generation.stop)
        if generation.json_schema is not None:
            schema = {"name": "answer", "strict": True, "schema": dict(generation.json_schema)}
            request["response_format"] = {"type": "json_schema", "json_schema": schema}
        return request

    def _refusal(self, status: int, body: bytes) -> CoveyError:
        reason, code = _reason(body)
        server = f"The model server at {self._base_url}"
        if code == "context_length_exceeded" or (status == 400 and "context" in reason.lower()):
            message = f"The prompt does not fit the context of {self._remote_model} ({reason}): shorten it."
            return CapacityError(message, bound="context_tokens", limit=self._context_tokens)
        if status in (401, 403):
            return ConfigError(f"{server} does not accept the API key (status {status}): check it.")
        if status == 404:
            return ConfigError(
                f"{server} has no model {self._remote_model!r} or no /chat/completions: {reason}."
            )
        if status in TRANSIENT_STATUSES or status >= 500:
            return UnavailableError(f"{server} is not able to answer now (status {status}): {reason}.")
        return RefusedError(f"{server} refuses the request (status {status}): {reason}.")


class _Answer:
    """The events of one stream, put together and checked."""

    def __init__(self, generation: Generation, *, began: float) -> None:
        self._began = began
        self._is_json = generation.json_schema is not None
        self._stream = TextStream(generation.stop)
        self._shown: list[str] = []
        self._shown_characters = 0
        self._finish: FinishReason | None = None
        self._usage: Mapping[str, Any] = {}
        self._pieces = 0
        self._first_token_s = 0.0
        self.complete = False

    def take(self, line: str) -> str:
        """One line of the event stream; returns the text to show now. Raises: ProtocolError, UnavailableError."""
        if not line.startswith("data:"):
            return ""  # comments that keep the connection alive, and event names
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            self.complete = True
            return ""
        try:
            event = json.loads(data)
            if not isinstance(event, Mapping):
                raise TypeError("not an object")
            if "error" in event:
                raise UnavailableError(
                    f"The model server failed in the middle of its answer: {_reason(data.encode())[0]}."
                )
            self._usage = event.get("usage") or self._usage
            choices = event.get("choices") or []
            return self._choice(choices[0]) if choices else ""
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise ProtocolError(
                "The model server sent an event that is not a chat completion chunk."
            ) from exc

    def rest(self) -> str:
        return self._shown_now(self._stream.finish())

    def finished(self) -> Finished:
        """Raises: ProtocolError when the stream ended early or is not the JSON that was asked for."""
        now = time.perf_counter()
        if self._finish is None:
            raise ProtocolError("The model server ended its answer without saying why.")
        if self._is_json and self._finish == "stop" and not self._stream.stopped:
            try:
                json.loads("".join(self._shown))
            except ValueError as exc:
                raise ProtocolError(
                    "The model server does not constrain its answers to a JSON schema."
                ) from exc
        usage = self._usage
        details = usage.get("prompt_tokens_details") or {}
        return Finished(
            finish=self._finish,
            prompt_tokens=_count(usage.get("prompt_tokens")),
            cached_tokens=_count(details.get("cached_tokens")),
            # A server that reports no usage sends about one token an event.
            output_tokens=_count(usage.get("completion_tokens", self._pieces)),
            first_token_ms=((self._first_token_s or now) - self._began) * 1000,
            total_ms=(now - self._began) * 1000,
        )

    def _choice(self, choice: Mapping[str, Any]) -> str:
        if (reason := choice.get("finish_reason")) is not None:
            self._finish = FINISH_REASONS.get(reason)
            if self._finish is None:
                raise ProtocolError(
                    f"The model server ended its answer with {str(reason)[:40]!r}, which is no answer."
                )
        text: object = (choice.get("delta") or {}).get("content") or ""
        if not isinstance(text, str):
            raise TypeError("content is not text")
        if not text:
            return ""
        self._first_token_s = self._first_token_s or time.perf_counter()
        self._pieces += 1
        shown = self._shown_now(self._stream.feed_text(text))
        if self._stream.stopped:  # the server does not stop by itself
            self._finish, self.complete = "stop", True
        return shown

    def _shown_now(self, text: str) -> str:
        if text:
            self._shown.append(text)
            self._shown_characters += len(text)
            if self._shown_characters > MAX_ANSWER_CHARACTERS:
                raise ProtocolError(f"The model server sent more than {MAX_ANSWER_CHARACTERS} characters.")
        return text


async def _lines(response: "httpx.Response") -> AsyncIterator[str]:
    """Lines of the body. Raises: ProtocolError for a line over MAX_LINE_BYTES or one that is not UTF-8."""
    held = b""
    async for chunk in response.aiter_bytes():
        *lines, held = (held + chunk).split(b"\n")
        if max(len(held), *map(len, lines), 0) > MAX_LINE_BYTES:
            raise ProtocolError(f"The model server sent a line of more than {MAX_LINE_BYTES} bytes.")
        for line in lines:
            try:
                yield line.decode("utf-8").rstrip("\r")
            except UnicodeDecodeError as exc:
                raise ProtocolError("The model server sent text that is not UTF-8.") from exc


async def _start_of(response: "httpx.Response") -> bytes:
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) >= MAX_ERROR_BYTES:
            break
    return body[:MAX_ERROR_BYTES]


def _reason(body: bytes) -> tuple[str, str]:
    """What an error body says, and its code; both may be empty, neither is trusted to be short."""
    try:
        error = json.loads(body)
        error = error.get("error", error)
        if isinstance(error, str):
            return _short(error), ""
        return _short(str(error.get("message") or "no reason given")), str(error.get("code") or "")
    except (ValueError, AttributeError):
        return _short(body.decode("utf-8", "replace")) or "no reason given", ""


def _short(text: str) -> str:
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= SHOWN_REASON_CHARACTERS else line[:SHOWN_REASON_CHARACTERS] + "…"


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
