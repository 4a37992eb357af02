"""Is the model there that this device answers with, and the one that its memory is searched by?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from edge.checks.subject import Subject
from shared.errors import ConfigError
from shared.findings import Finding, fail, ok, warn
from shared.inference.install import find_installed
from shared.inference.installed import EMBEDDING_MODEL

NAME: Final = "model"
MEMORY: Final = "memory model"
GGUF_MAGIC: Final = b"GGUF"


def check(subject: Subject) -> Iterator[Finding]:
    settings = subject.settings
    if settings.model_url is not None:
        host = urlsplit(settings.model_url).hostname or settings.model_url
        key = settings.model_api_key_file
        if key is not None and not key.is_file():
            yield fail(NAME, f"The key of the model server {host} is not in {key}.")
        else:
            yield ok(NAME, f"{settings.model} answers from the server {host}.")
    else:
        yield _installed(NAME, settings.models_dir, settings.model, is_needed=True)
    if settings.index == "on":
        yield _installed(MEMORY, settings.models_dir, EMBEDDING_MODEL, is_needed=False)


def _installed(name: str, models_dir: Path, model: str, *, is_needed: bool) -> Finding:
    """Without the embedding model the device still searches its memory, by keywords."""
    command = f"covey-edge model install {model} --models-dir {models_dir}"
    judge = fail if is_needed else warn
    try:
        found = find_installed(models_dir, model)
        with found.path.open("rb") as file:
            if file.read(len(GGUF_MAGIC)) != GGUF_MAGIC:
                return judge(name, f"{found.path} is no model file any more.", command)
    except ConfigError as error:
        return judge(name, str(error), command)
    except OSError as error:
        return judge(name, f"The model {model} cannot be read ({error.strerror}).", command)
    return ok(name, f"{model} is installed ({found.path.stat().st_size / 1e6:,.0f} MB).")
