"""Embedding models without a model: the fakes of whatever compares texts by meaning."""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence

from shared.errors import ConfigError
from tests.support.vectors import vector_of


class WordEmbedder:
    """A vector a text: how often each of `words` occurs. Counts what it was asked, so tests see what is redone."""

    def __init__(self, *words: str) -> None:
        self._words = words
        self.texts: list[str] = []

    @property
    def text_tokens_max(self) -> int:
        return 254

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self.texts += texts
        return [self._vector(text) for text in texts]

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    async def fingerprint(self) -> bytes:
        return hashlib.sha256(" ".join(self._words).encode()).digest()

    async def close(self) -> None:
        """Nothing is loaded."""

    def _vector(self, text: str) -> list[float]:
        counts = Counter(text.lower().split())
        vector = [float(counts[word]) for word in self._words] + [0.01]
        length = math.hypot(*vector)
        return [value / length for value in vector]


class HashingEmbedder:
    """An `EmbeddingModel` without a model: `tests.support.vectors.vector_of`, as floats. `fingerprint` is settable."""

    def __init__(self, fingerprint: bytes) -> None:
        self.of_model = fingerprint
        self.is_missing = False

    @property
    def text_tokens_max(self) -> int:
        return 254

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        self._check()
        return [[float(byte - 256 if byte > 127 else byte) for byte in vector_of(text)] for text in texts]

    def count_tokens(self, text: str) -> int:
        return len(text.split())

    async def fingerprint(self) -> bytes:
        self._check()
        return self.of_model

    async def close(self) -> None:
        """Nothing is loaded."""

    def _check(self) -> None:
        if self.is_missing:
            raise ConfigError("The embedding model is not installed; `covey-edge model install` does it.")
