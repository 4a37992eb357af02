"""Sentence embeddings over llama.cpp in this process: the same file gives the same vectors on hub and device.

Loads on first use and unloads when idle, like the language model. One compute thread by default, and that is a
decision: llama.cpp computes with OpenMP, and a second team of threads in the process makes the runtime stop spinning
at its barriers, which halves the decoding speed of the chat model beside it.
"""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

from shared.errors import ConfigError
from shared.inference.native import Encoder, Weights, share_processors
from shared.inference.worker import ModelWorker


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
        if not 2 < context_tokens <= Encoder.PASS_TOKENS:
            raise ConfigError(
                f"The context of the embedding model {name} must be 3 to {Encoder.PASS_TOKENS} tokens."
            )
        self._path = path
        self._name = name
        self._context_tokens = context_tokens
        self._threads = threads
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
        if not texts:
            return []
        kept = tuple(texts)
        return await asyncio.wrap_future(self._worker.submit(lambda loaded: self._embed(loaded, kept)))

    async def close(self) -> None:
        """Unload. The embedder may be used again afterwards and loads itself anew."""
        await self._worker.close()

    def _load(self) -> "_Loaded":
        weights = Weights(self._path, name=self._name)
        try:
            encoder = Encoder(weights, threads=self._threads)
        except BaseException:
            weights.close()
            raise
        return _Loaded(weights, encoder)

    def _embed(self, loaded: "_Loaded", texts: Sequence[str]) -> list[list[float]]:
        vectors: list[list[float]] = []
        for some in _passes([self._tokens(loaded.weights, text) for text in texts]):
            vectors += loaded.encoder.encode(some)
        return vectors

    def _tokens(self, weights: Weights, text: str) -> list[int]:
        tokens = weights.tokenize(text, parse_special=False, add_special=True)
        if len(tokens) > self._context_tokens:
            tokens[self._context_tokens - 1 :] = tokens[-1:]  # the closing token stays
        return tokens


class _Loaded:
    def __init__(self, weights: Weights, encoder: Encoder) -> None:
        self.weights = weights
        self.encoder = encoder

    def close(self) -> None:
        self.encoder.close()
        self.weights.close()


def _passes(texts: Sequence[list[int]]) -> Iterator[list[list[int]]]:
    """Consecutive groups which fit into one pass."""
    some: list[list[int]] = []
    for text in texts:
        if some and (len(some) == Encoder.MAX_TEXTS or sum(map(len, some)) + len(text) > Encoder.PASS_TOKENS):
            yield some
            some = []
        some.append(text)
    yield some
