"""What a person wants to know before choosing a model for a board: how fast it loads, reads and writes, and its size.

Blocking: seconds of CPU.
"""

import time
from contextlib import closing
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from shared.inference.catalogue import ModelKind
from shared.inference.embed_llama import Encoders
from shared.inference.install import InstalledModel
from shared.inference.measure import Speed, probe
from shared.inference.native import Weights

EMBEDDING_TEXTS: Final = 64
EMBEDDING_ROUNDS: Final = 3
_TEXT: Final = "The reading of the cold room was above the permitted range for eleven minutes."


class ModelBench(BaseModel):
    """`resident_mb` is that of this process with the model loaded and used. A kind has its own speeds only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: ModelKind
    load_ms: float
    resident_mb: float
    prompt_tokens_per_s: float | None = None
    decode_tokens_per_s: float | None = None
    texts_per_s: float | None = None


def bench_model(model: InstalledModel, *, threads: int = 0) -> ModelBench:
    """Raises: ConfigError for a broken file."""
    began = time.perf_counter()
    with closing(Weights(model.path, name=model.name)) as weights:
        load_ms = (time.perf_counter() - began) * 1000
        speed: Speed | None = None
        texts_per_s: float | None = None
        match model.kind:
            case ModelKind.CHAT:
                speed = probe(weights, threads=threads)
            case ModelKind.EMBEDDING:
                texts_per_s = _embedding_speed(weights, threads=threads or 1)  # as the embedder does
        return ModelBench(
            name=model.name,
            kind=model.kind,
            load_ms=round(load_ms, 1),
            resident_mb=round(resident_bytes() / 1e6, 1),
            prompt_tokens_per_s=speed.prompt_tokens_per_s if speed else None,
            decode_tokens_per_s=speed.decode_tokens_per_s if speed else None,
            texts_per_s=texts_per_s,
        )


def resident_bytes() -> int:
    """Of this process, now; Linux only."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def _embedding_speed(weights: Weights, *, threads: int) -> float:
    text = weights.tokenize(_TEXT, parse_special=False, add_special=True)
    best_s = float("inf")
    with closing(Encoders(weights, threads=threads)) as encoders:
        for _ in range(EMBEDDING_ROUNDS):
            began = time.perf_counter()
            encoders.encode([text] * EMBEDDING_TEXTS)
            best_s = min(best_s, time.perf_counter() - began)
    return round(EMBEDDING_TEXTS / best_s, 1)
