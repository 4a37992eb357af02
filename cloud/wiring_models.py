"""The part of wiring.py around models: what the hub embeds with, and what it answers with.

Nothing is loaded, or even looked for, before it is asked: a hub that takes no documents and answers nothing does
without llama.cpp and numpy. Both models unload when they are idle, and when the process stops.
"""

import asyncio
from dataclasses import dataclass

from cloud.settings import HubSettings
from shared.errors import ConfigError
from shared.inference.installed import InstalledEmbedder, InstalledLlama
from shared.inference.native import share_processors
from shared.inference.ports import EmbeddingModel, LanguageModel


@dataclass(frozen=True, slots=True, kw_only=True)
class HubModels:
    """`answers` is None in a hub that finds passages and answers nothing."""

    embedder: EmbeddingModel
    answers: LanguageModel | None

    async def run(self) -> None:
        """Until cancelled; then unload."""
        try:
            await asyncio.Event().wait()
        finally:
            await self.close()

    async def close(self) -> None:
        """Unload, in the reverse of the order in which an answer needs them."""
        try:
            if self.answers is not None:
                await self.answers.close()
        finally:
            await self.embedder.close()


def models_of(settings: HubSettings) -> HubModels:
    """Call it before the process has other threads: it sets an environment variable for llama.cpp's.

    Raises `ConfigError` for a key file that cannot be read.
    """
    share_processors()
    return HubModels(
        embedder=InstalledEmbedder(
            settings.models_directory,
            name=settings.embedding_model,
            threads=settings.embedding_threads,
            idle_unload_s=settings.embedding_idle_unload_s,
        ),
        answers=_answering(settings) if settings.answer_model else None,
    )


def _answering(settings: HubSettings) -> LanguageModel:
    """The installed GGUF, or the server that the settings name."""
    if not settings.answer_model_url:
        return InstalledLlama(
            name=settings.answer_model,
            models_dir=settings.models_directory,
            context_tokens=settings.answer_model_context_tokens,
            threads=settings.answer_model_threads,
            idle_unload_s=settings.answer_model_idle_unload_s,
            memory_max_mb=settings.answer_model_memory_max_mb,
        )
    from shared.inference.model_openai import OpenAIModel  # here, because it brings an HTTP client along

    return OpenAIModel(
        name=settings.answer_model,
        base_url=settings.answer_model_url,
        remote_model=settings.answer_model,
        context_tokens=settings.answer_model_context_tokens,
        api_key=_key(settings),
    )


def _key(settings: HubSettings) -> str | None:
    if settings.answer_model_key_file is None:
        return None
    path = settings.home / settings.answer_model_key_file.expanduser()
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"The key of the model server cannot be read from {path}; see to it that it is a readable text file."
        ) from error
