"""The installed model of that name, looked up when it is first needed: a missing model fails a task, not the daemon."""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from edge.ports import Finished, Generation, TextDelta
from shared.errors import CapacityError

if TYPE_CHECKING:  # a daemon that has not been asked anything yet does without the model's machinery
    from edge.adapters.model_llama import LlamaModel
    from edge.models.install import InstalledModel

logger = logging.getLogger(__name__)

CONTEXT_BYTES_PER_TOKEN = 32_768
"""A cautious upper bound of what one token of context holds in memory for models of up to 3 B parameters."""


class InstalledLlama:
    """`LanguageModel` over whatever `covey-edge model install` put in place, also after the daemon started."""

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

    async def generate(self, generation: Generation) -> AsyncGenerator[TextDelta | Finished, None]:
        async with aclosing(self._find().generate(generation)) as stream:
            async for item in stream:
                yield item

    async def close(self) -> None:
        if self._model is not None:
            await self._model.close()

    def _find(self) -> "LlamaModel":
        if self._model is None:
            from edge.adapters.model_llama import LlamaModel
            from edge.models.install import find_installed

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
                f"The model {self._name} needs about {need // 1_000_000} MB, and this device allows it"
                f" {self._memory_max_mb} MB; choose a smaller model or context.",
                bound="model_memory_max_mb",
                limit=self._memory_max_mb,
            )
