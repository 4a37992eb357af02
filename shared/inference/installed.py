"""The installed models, looked up when they are first needed: a missing model fails what needs it, not the program."""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shared.errors import CapacityError, ConfigError
from shared.inference.ports import Finished, Generation, TextDelta

if TYPE_CHECKING:  # a program that has not been asked anything yet does without the model's machinery
    from shared.inference.embed_llama import Embedder
    from shared.inference.install import InstalledModel
    from shared.inference.model_llama import LlamaModel
    from shared.inference.native import Vocabulary

logger = logging.getLogger(__name__)

EMBEDDING_MODEL: Final = "all-minilm-l6-v2"
EMBEDDING_CONTEXT_TOKENS: Final = 256
"""What that model was trained with. A vector depends on where its text is cut, so this is one number for both sides."""
OWN_TOKENS: Final = 2
"""Of these, what the model itself puts around a text."""
IDLE_UNLOAD_S: Final = 60.0
CONTEXT_BYTES_PER_TOKEN: Final = 32_768
"""A cautious upper bound of what one token of context holds in memory for models of up to 3 B parameters."""


class InstalledLlama:
    """`LanguageModel` over whatever `model install` put in place, also after the program started."""

    def __init__(
        self,
        *,
        name: str,
        models_dir: Path,
        context_tokens: int,
        threads: int,
        idle_unload_s: float,
        memory_max_mb: int | None,
    ) -> None:
        self._name = name
        self._models_dir = models_dir
        self._context_tokens = context_tokens
        self._threads = threads
        self._idle_unload_s = idle_unload_s
        self._memory_max_mb = memory_max_mb
        self._model: LlamaModel | None = None

    @property
    def name(self) -> str:
        return self._name

    @property
    def context_tokens(self) -> int:
        return self._context_tokens

    @property
    def is_loaded(self) -> bool:
        """Whether the weights are in memory now."""
        return self._model is not None and self._model.loaded

    def unload_after(self, idle_unload_s: float) -> None:
        """Another idle time from now on; 0: stay loaded until `close`."""
        self._idle_unload_s = idle_unload_s
        if self._model is not None:
            self._model.unload_after(idle_unload_s)

    async def generate(self, generation: Generation) -> AsyncGenerator[TextDelta | Finished, None]:
        async with aclosing(self._find().generate(generation)) as stream:
            async for item in stream:
                yield item

    async def close(self) -> None:
        if self._model is not None:
            await self._model.close()

    def _find(self) -> "LlamaModel":
        if self._model is None:
            from shared.inference.install import find_installed
            from shared.inference.model_llama import LlamaModel

            installed = find_installed(self._models_dir, self._name)
            self._check_memory(installed)
            self._context_tokens = min(self._context_tokens, installed.context_tokens)
            self._model = LlamaModel(
                path=installed.path,
                name=self._name,
                context_tokens=self._context_tokens,
                threads=self._threads,
                idle_unload_s=self._idle_unload_s,
            )
        return self._model

    def _check_memory(self, installed: "InstalledModel") -> None:
        if self._memory_max_mb is None:
            return
        need = installed.path.stat().st_size + self._context_tokens * CONTEXT_BYTES_PER_TOKEN
        if need > self._memory_max_mb * 1_000_000:
            raise CapacityError(
                f"The model {self._name} needs about {need // 1_000_000} MB, and the settings allow it"
                f" {self._memory_max_mb} MB; choose a smaller model or context.",
                bound="model_memory_max_mb",
                limit=self._memory_max_mb,
            )


class InstalledEmbedder:
    """`EmbeddingModel` over an installed model, by default the one that every device and the hub have in common.

    The vocabulary, by which it counts, and the weights are loaded apart, each when it is first needed.
    """

    def __init__(
        self,
        models_dir: Path,
        *,
        name: str = EMBEDDING_MODEL,
        threads: int = 1,
        idle_unload_s: float = IDLE_UNLOAD_S,
    ) -> None:
        """`threads` 0: all processors. `idle_unload_s` 0: stay loaded until `close`."""
        self._models_dir = models_dir
        self._name = name
        self._threads = threads
        self._idle_unload_s = idle_unload_s
        self._embedder: Embedder | None = None
        self._vocabulary: Vocabulary | None = None
        self._counting = threading.Lock()  # also keeps `close` from taking away what counts

    @property
    def name(self) -> str:
        return self._name

    @property
    def is_loaded(self) -> bool:
        """Whether the weights are in memory now."""
        return self._embedder is not None and self._embedder.loaded

    @property
    def text_tokens_max(self) -> int:
        return EMBEDDING_CONTEXT_TOKENS - OWN_TOKENS

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        if self._embedder is None:
            from shared.inference.embed_llama import Embedder

            self._embedder = Embedder(
                path=self._find().path,
                name=self._name,
                context_tokens=EMBEDDING_CONTEXT_TOKENS,
                threads=self._threads,
                idle_unload_s=self._idle_unload_s,
            )
        return await self._embedder.embed(texts)

    def count_tokens(self, text: str) -> int:
        with self._counting:
            if self._vocabulary is None:
                from shared.inference.native import Vocabulary

                self._vocabulary = Vocabulary(self._find().path, name=self._name)
            return self._vocabulary.count(text)

    async def fingerprint(self) -> bytes:
        from shared.inference.install import fingerprint_of

        return bytes.fromhex(await asyncio.to_thread(lambda: fingerprint_of(self._find())))

    async def close(self) -> None:
        """Unload. It may be used again afterwards and loads itself anew."""
        if self._embedder is not None:
            await self._embedder.close()
        await asyncio.to_thread(self._forget_vocabulary)

    def _forget_vocabulary(self) -> None:
        with self._counting:
            if self._vocabulary is not None:
                self._vocabulary.close()
                self._vocabulary = None

    def _find(self) -> "InstalledModel":
        from shared.inference.catalogue import ModelKind
        from shared.inference.install import find_installed

        installed = find_installed(self._models_dir, self._name)
        if installed.kind is not ModelKind.EMBEDDING:
            raise ConfigError(
                f"{self._name} answers and makes no vectors: name a model of the kind embedding."
            )
        return installed
