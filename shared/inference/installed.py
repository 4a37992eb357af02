"""The installed models, looked up when they are first needed: a missing model fails what needs it, not the program."""

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shared.errors import CapacityError
from shared.inference.ports import Finished, Generation, TextDelta

if TYPE_CHECKING:  # a program that has not been asked anything yet does without the model's machinery
    from shared.inference.embed_llama import Embedder
    from shared.inference.install import InstalledModel
    from shared.inference.model_llama import LlamaModel

logger = logging.getLogger(__name__)

EMBEDDING_MODEL: Final = "all-minilm-l6-v2"
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
    """`TextEmbedder` over `all-minilm-l6-v2`, the same file on every device and on the hub."""

    def __init__(self, models_dir: Path) -> None:
        self._models_dir = models_dir
        self._embedder: Embedder | None = None

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        if self._embedder is None:
            from shared.inference.embed_llama import Embedder
            from shared.inference.install import find_installed

            installed = find_installed(self._models_dir, EMBEDDING_MODEL)
            self._embedder = Embedder(path=installed.path, name=EMBEDDING_MODEL, idle_unload_s=IDLE_UNLOAD_S)
        return await self._embedder.embed(texts)

    async def close(self) -> None:
        """Unload."""
        if self._embedder is not None:
            await self._embedder.close()
