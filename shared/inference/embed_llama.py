"""Sentence embeddings over llama.cpp in this process: the same file gives the same vectors on hub and device.

Loads on first use and unloads when idle, like the language model. A text is computed by one thread, and that is a
decision: llama.cpp computes with OpenMP, and a second team of threads in the process makes the runtime stop spinning
at its barriers, which halves the decoding speed of the chat model beside it. More threads compute more texts at once.
"""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from shared.errors import ConfigError
from shared.inference.native import Encoder, Weights, share_processors, thread_count
from shared.inference.worker import ModelWorker

JOB_CHARACTERS: Final = 4_096
"""Texts are handed to the worker in jobs of so many characters a thread, about four passes: whoever asks for one vector
while thousands are made waits for some tenths of a second."""
CHARACTERS_PER_TOKEN: Final = 64
"""More than that of a text for each token of the context is not even looked at: it may be a line of megabytes."""


class Embedder:
    def __init__(
        self,
        *,
        path: Path,
        name: str,
        context_tokens: int = 256,
        threads: int = 1,
        idle_unload_s: float = 0.0,
    ) -> None:
        """Texts longer than `context_tokens` are cut. `idle_unload_s` 0: stay loaded until `close`."""
        if not 2 < context_tokens <= Encoder.MAX_PASS_TOKENS:
            raise ConfigError(
                f"The context of the embedding model {name} must be 3 to {Encoder.MAX_PASS_TOKENS} tokens."
            )
        self._path = path
        self._name = name
        self._context_tokens = context_tokens
        self._threads = threads
        self._job = thread_count(threads)
        share_processors()
        self._worker = ModelWorker(
            name=name, load=self._load, unload=_Loaded.close, idle_unload_s=idle_unload_s
        )

    @property
    def name(self) -> str:
        return self._name

    @property
    def loaded(self) -> bool:
        return self._worker.loaded

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Unit vectors, one a text, in order. Raises: ConfigError for a missing or broken model file."""
        vectors: list[list[float]] = []
        for some in _jobs([text[: self._context_tokens * CHARACTERS_PER_TOKEN] for text in texts], self._job):
            vectors += await asyncio.wrap_future(self._worker.submit(partial(self._embed, texts=some)))
        return vectors

    async def close(self) -> None:
        """Unload. The embedder may be used again afterwards and loads itself anew."""
        await self._worker.close()

    def _load(self) -> "_Loaded":
        weights = Weights(self._path, name=self._name)
        try:
            pass_tokens = max(Encoder.PASS_TOKENS, self._context_tokens)
            return _Loaded(weights, Encoders(weights, threads=self._threads, pass_tokens=pass_tokens))
        except BaseException:
            weights.close()
            raise

    def _embed(self, loaded: "_Loaded", texts: Sequence[str]) -> list[list[float]]:
        return loaded.encoders.encode([self._tokens(loaded.weights, text) for text in texts])

    def _tokens(self, weights: Weights, text: str) -> list[int]:
        tokens = weights.tokenize(text, parse_special=False, add_special=True)
        if len(tokens) > self._context_tokens:
            tokens[self._context_tokens - 1 :] = tokens[-1:]  # the closing token stays
        return tokens


class Encoders:
    """Encoders over the weights of one model, each on one thread: they work on different texts, side by side.

    Threads that share a text wait for one another at every step of it, which took a third more of the processors.
    """

    def __init__(self, weights: Weights, *, threads: int, pass_tokens: int = Encoder.PASS_TOKENS) -> None:
        """`threads` 0: as many as there are processors. Raises: UnavailableError for too little memory."""
        self._all: list[Encoder] = []
        self._idle: SimpleQueue[Encoder] = SimpleQueue()
        try:
            for _ in range(thread_count(threads)):
                encoder = Encoder(weights, pass_tokens=pass_tokens)
                self._all.append(encoder)
                self._idle.put(encoder)
        except BaseException:
            self._close_all()
            raise
        self._threads = ThreadPoolExecutor(len(self._all), "embed") if len(self._all) > 1 else None

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown()
        self._close_all()

    def encode(self, texts: Sequence[list[int]]) -> list[list[float]]:
        """One unit vector a text, in order; each at most `pass_tokens` tokens long."""
        passes = _passes(texts, self._all[0].pass_tokens)
        done = map(self._encode, passes) if self._threads is None else self._threads.map(self._encode, passes)
        return [vector for vectors in done for vector in vectors]

    def _encode(self, texts: list[list[int]]) -> list[list[float]]:
        encoder = self._idle.get()
        try:
            return encoder.encode(texts)
        finally:
            self._idle.put(encoder)

    def _close_all(self) -> None:
        for encoder in self._all:
            encoder.close()


class _Loaded:
    def __init__(self, weights: Weights, encoders: Encoders) -> None:
        self.weights = weights
        self.encoders = encoders

    def close(self) -> None:
        self.encoders.close()
        self.weights.close()


def _jobs(texts: Sequence[str], times: int) -> Iterator[list[str]]:
    """Consecutive groups of about the same work; a text is never divided."""
    some: list[str] = []
    characters = 0
    for text in texts:
        some.append(text)
        characters += len(text)
        if characters >= JOB_CHARACTERS * times or len(some) == Encoder.MAX_TEXTS * times:
            yield some
            some, characters = [], 0
    if some:
        yield some


def _passes(texts: Sequence[list[int]], pass_tokens: int) -> Iterator[list[list[int]]]:
    """Consecutive groups which fit into one pass."""
    some: list[list[int]] = []
    for text in texts:
        if some and (len(some) == Encoder.MAX_TEXTS or sum(map(len, some)) + len(text) > pass_tokens):
            yield some
            some = []
        some.append(text)
    yield some
