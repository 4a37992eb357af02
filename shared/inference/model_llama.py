"""LanguageModel over llama.cpp in this process.

One worker thread owns weights and context; the loop only submits jobs and receives text. Invariants: at most one
generation runs; what is in the context after a cancelled one is whole and may be reused; text reaches the loop in
few, whole pieces, because on a two-core board every wake-up of the loop is taken from the model.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Final

from shared.errors import CapacityError, ConfigError, ProtocolError
from shared.inference.json_grammar import compile_schema
from shared.inference.native import CancelFlag, Cancelled, Context, Weights, share_processors
from shared.inference.ports import Finished, FinishReason, Generation, Message, TextDelta
from shared.inference.prompt import PromptWriter
from shared.inference.sampling import Sampler
from shared.inference.text_stream import TextStream
from shared.inference.worker import ModelWorker

# A prompt that leaves less than this cannot be answered; half a tool call is worth nothing.
MIN_ANSWER_TOKENS: Final = 16
# Text is handed to the loop at once for the first token, then at most this often.
FLUSH_INTERVAL_S: Final = 0.1


class LlamaModel:
    def __init__(
        self,
        *,
        path: Path,
        name: str,
        context_tokens: int,
        threads: int,
        idle_unload_s: float,
        batch_tokens: int = 512,
        flash_attention: bool = True,
    ) -> None:
        """`threads` 0: all processors. `idle_unload_s` 0: stay loaded until `close`. Nothing is loaded yet."""
        self._path = path
        self._name = name
        self._context_tokens = context_tokens
        self._threads = threads
        self._batch_tokens = batch_tokens
        self._flash_attention = flash_attention
        share_processors()
        self._worker = ModelWorker(
            name=name, load=self._load, unload=_Loaded.close, idle_unload_s=idle_unload_s
        )

    @property
    def name(self) -> str:
        return self._name

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    @property
    def loaded(self) -> bool:
        return self._worker.loaded

    def unload_after(self, idle_unload_s: float) -> None:
        """Another idle time from now on; 0: stay loaded until `close`."""
        self._worker.unload_after(idle_unload_s)

    def generate(self, generation: Generation) -> AsyncGenerator[TextDelta | Finished, None]:
        return self._stream(generation, began=time.perf_counter())

    async def count_tokens(self, messages: Sequence[Message]) -> int:
        """The size of the prompt these messages make. Loads the model if it is not loaded."""
        return await asyncio.wrap_future(
            self._worker.submit(lambda loaded: len(loaded.prompts.tokens(messages)))
        )

    async def close(self) -> None:
        await self._worker.close()

    async def _stream(
        self, generation: Generation, *, began: float
    ) -> AsyncGenerator[TextDelta | Finished, None]:
        if generation.max_tokens < 1:
            raise ProtocolError("max_tokens must be at least 1.")
        # Compiled here, so that a schema which cannot be enforced costs the model nothing.
        grammar = None if generation.json_schema is None else compile_schema(generation.json_schema)
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[TextDelta | Finished | BaseException] = asyncio.Queue()

        def hand_over(item: TextDelta | Finished | BaseException) -> None:
            try:
                loop.call_soon_threadsafe(arrived.put_nowait, item)
            except RuntimeError:  # the loop is closed: nobody waits any more
                cancel.set()

        def hand_over_failure(done: "Future[None]") -> None:
            if not done.cancelled() and (failure := done.exception()) is not None:
                hand_over(failure)

        cancel = CancelFlag()
        run = _Run(generation, grammar=grammar, began=began, cancel=cancel, hand_over=hand_over)
        job = self._worker.submit(run)
        job.add_done_callback(hand_over_failure)
        try:
            while True:
                item = await arrived.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
                if isinstance(item, Finished):
                    return
        finally:
            cancel.set()
            job.cancel()

    def _load(self) -> "_Loaded":
        weights = Weights(self._path, name=self._name)
        try:
            if self._context_tokens > weights.trained_context_tokens:
                raise ConfigError(
                    f"{self._name} was trained for {weights.trained_context_tokens} context tokens and is asked for "
                    f"{self._context_tokens}: lower the setting."
                )
            prompts = PromptWriter(weights)
            context = Context(
                weights,
                context_tokens=self._context_tokens,
                batch_tokens=self._batch_tokens,
                threads=self._threads,
                flash_attention=self._flash_attention,
            )
        except BaseException:
            weights.close()
            raise
        return _Loaded(weights, prompts, context, self._context_tokens)


class _Loaded:
    """What the worker thread owns."""

    def __init__(
        self, weights: Weights, prompts: PromptWriter, context: Context, context_tokens: int
    ) -> None:
        self.weights = weights
        self.prompts = prompts
        self.context = context
        self.context_tokens = context_tokens

    def close(self) -> None:
        self.context.close()
        self.weights.close()


class _Run:
    """One generation, on the worker thread."""

    def __init__(
        self,
        generation: Generation,
        *,
        grammar: str | None,
        began: float,
        cancel: CancelFlag,
        hand_over: Callable[[TextDelta | Finished | BaseException], None],
    ) -> None:
        self._generation = generation
        self._grammar = grammar
        self._began = began
        self._cancel = cancel
        self._hand_over = hand_over
        self._pending: list[str] = []
        self._flush_at = 0.0

    def __call__(self, loaded: _Loaded) -> None:
        prompt = loaded.prompts.tokens(self._generation.messages)
        room = loaded.context_tokens - len(prompt)
        if room < MIN_ANSWER_TOKENS:
            raise CapacityError(
                f"The prompt has {len(prompt)} tokens and the context {loaded.context_tokens}, of which "
                f"{MIN_ANSWER_TOKENS} are kept for the answer: shorten the prompt.",
                bound="context_tokens",
                limit=loaded.context_tokens,
            )
        generation = self._generation
        with closing(
            Sampler(
                loaded.weights,
                temperature=generation.temperature,
                top_p=generation.top_p,
                seed=generation.seed,
                grammar=self._grammar,
            )
        ) as sampler:
            try:
                finished = self._answer(loaded, sampler, prompt, min(generation.max_tokens, room))
            except Cancelled:
                return
        self._flush()
        self._hand_over(finished)

    def _answer(self, loaded: _Loaded, sampler: Sampler, prompt: list[int], max_tokens: int) -> Finished:
        weights, context, cancel = loaded.weights, loaded.context, self._cancel
        cached_tokens = context.keep_prefix_of(prompt)
        context.evaluate(prompt[cached_tokens:], cancel)
        stream = TextStream(self._generation.stop)
        finish: FinishReason = "length"
        output_tokens = 0
        first_token_s = 0.0
        while True:
            token = sampler.pick(context)
            first_token_s = first_token_s or time.perf_counter()
            if weights.is_end(token):
                finish = "stop"
                break
            output_tokens += 1
            self._show(stream.feed(weights.piece(token)))
            if stream.stopped or (self._grammar is not None and sampler.must_end):
                finish = "stop"
                break
            if output_tokens == max_tokens:
                break
            context.evaluate_next(token, cancel)
        self._show(stream.finish())
        return Finished(
            finish=finish,
            prompt_tokens=len(prompt),
            cached_tokens=cached_tokens,
            output_tokens=output_tokens,
            first_token_ms=(first_token_s - self._began) * 1000,
            total_ms=(time.perf_counter() - self._began) * 1000,
        )

    def _show(self, text: str) -> None:
        if text:
            self._pending.append(text)
        if self._pending and time.perf_counter() >= self._flush_at:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            self._hand_over(TextDelta("".join(self._pending)))
            self._pending.clear()
            self._flush_at = time.perf_counter() + FLUSH_INTERVAL_S
