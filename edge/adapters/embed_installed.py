"""The installed embedding model, looked up when it is first needed."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # as for the language model: nothing of it is imported before the first use
    from edge.adapters.embed_llama import Embedder

EMBEDDING_MODEL: Final = "all-minilm-l6-v2"
IDLE_UNLOAD_S: Final = 60.0


class InstalledEmbedder:
    """`TextEmbedder` over `all-minilm-l6-v2`, the same file on every device and on the hub."""

    def __init__(self, models_dir: Path) -> None:
        self._models_dir = models_dir
        self._embedder: Embedder | None = None

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        if self._embedder is None:
            from edge.adapters.embed_llama import Embedder
            from edge.models.install import find_installed

            installed = find_installed(self._models_dir, EMBEDDING_MODEL)
            self._embedder = Embedder(path=installed.path, name=EMBEDDING_MODEL, idle_unload_s=IDLE_UNLOAD_S)
        return await self._embedder.embed(texts)

    async def close(self) -> None:
        """Unload."""
        if self._embedder is not None:
            await self._embedder.close()
