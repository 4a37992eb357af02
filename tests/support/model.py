"""ScriptedModel: a LanguageModel that plays a script and keeps the port's contract (`test_model_contract.py`).

    model = ScriptedModel("Paris.", {"tool": "now"}, Reply("slow", gate=event), UnavailableError("gone"))

A token is a word with the white space before it. Each generation takes the next reply; a script that has run out
fails the test.
"""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from shared.errors import CapacityError, CoveyError, ProtocolError
from shared.inference.json_grammar import compile_schema
from shared.inference.ports import Finished, FinishReason, Generation, Message, TextDelta
from shared.inference.text_stream import TextStream

MIN_ANSWER_TOKENS = 16
TOKENS_PER_TURN = 4
WORD = re.compile(r"\s*\S+|\s+$")


@dataclass(frozen=True, slots=True)
class Reply:
    """`gate`: the first token waits for it. `pause_after` and `pause`: so does the token after that many."""

    text: str
    gate: asyncio.Event | None = None
    pause_after: int = 0
    pause: asyncio.Event | None = None


Line = str | Mapping[str, object] | Reply | CoveyError | Callable[[Generation], str]


class ScriptedModel:
    """`seen` are the generations that began, `cancelled` how many ended early, `closed` how often it was unloaded."""

    def __init__(self, *script: Line, name: str = "scripted", context_tokens: int = 2048) -> None:
        self._script = list(script)
        self._name = name
        self._context_tokens = context_tokens
        self._turn = asyncio.Lock()
        self._evaluated: list[str] = []
        self.seen: list[Generation] = []
        self.cancelled = 0
        self.closed = 0

    @property
    def name(self) -> str:
        return self._name

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    def add(self, *script: Line) -> None:
        self._script += script

    async def count_tokens(self, messages: Sequence[Message]) -> int:
        return len(_prompt(messages))

    async def close(self) -> None:
        self.closed += 1
        self._evaluated = []

    async def generate(self, generation: Generation) -> AsyncGenerator[TextDelta | Finished, None]:
        if generation.max_tokens < 1:
            raise ProtocolError("max_tokens must be at least 1.")
        if generation.json_schema is not None:
            compile_schema(generation.json_schema)
        async with self._turn:
            self.seen.append(generation)
            prompt = _prompt(generation.messages)
            room = self._context_tokens - len(prompt)
            if room < MIN_ANSWER_TOKENS:
                message = (
                    f"The prompt has {len(prompt)} tokens and the context {self._context_tokens}: shorten it."
                )
                raise CapacityError(message, bound="context_tokens", limit=self._context_tokens)
            ended = False
            try:
                async with aclosing(
                    self._play(generation, prompt, min(generation.max_tokens, room))
                ) as items:
                    async for item in items:
                        ended = isinstance(item, Finished)
                        yield item
            except CoveyError:
                ended = True
                raise
            finally:
                self.cancelled += not ended

    async def _play(
        self, generation: Generation, prompt: list[str], max_tokens: int
    ) -> AsyncGenerator[TextDelta | Finished, None]:
        reply = self._next(generation)
        cached_tokens = _common(self._evaluated, prompt[:-1])
        self._evaluated = prompt
        if reply.gate is not None:
            await reply.gate.wait()
        stream = TextStream(generation.stop)
        words = WORD.findall(reply.text)
        finish: FinishReason = "stop" if len(words) <= max_tokens else "length"
        output_tokens = 0
        for word in words[:max_tokens]:
            if reply.pause is not None and output_tokens == reply.pause_after:
                await reply.pause.wait()
            await asyncio.sleep(0)
            output_tokens += 1
            if text := stream.feed_text(word):
                yield TextDelta(text)
            if stream.stopped:
                finish = "stop"
                break
        if text := stream.finish():
            yield TextDelta(text)
        yield Finished(
            finish=finish,
            prompt_tokens=len(prompt),
            cached_tokens=cached_tokens,
            output_tokens=output_tokens,
            first_token_ms=1.0,
            total_ms=1.0 + output_tokens,
        )

    def _next(self, generation: Generation) -> Reply:
        assert self._script, f"the script has no reply number {len(self.seen)}"
        line = self._script.pop(0)
        if isinstance(line, CoveyError):
            raise line
        if isinstance(line, Reply):
            reply = line
        elif isinstance(line, str):
            reply = Reply(line)
        elif isinstance(line, Mapping):
            reply = Reply(json.dumps(line))
        else:
            reply = Reply(line(generation))
        if generation.json_schema is not None:
            json.loads(reply.text)  # a script that breaks the contract is a broken test
        return reply


def _prompt(messages: Sequence[Message]) -> list[str]:
    words: list[str] = []
    for message in messages:
        words += [f"<{message.role}>"] * TOKENS_PER_TURN + WORD.findall(message.content)
    return words


def _common(mine: list[str], theirs: list[str]) -> int:
    count = 0
    for one, other in zip(mine, theirs, strict=False):
        if one != other:
            break
        count += 1
    return count
