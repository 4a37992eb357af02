"""How fast a model file runs on this CPU, and whether requantising it pays.

The one figure that decides is the time of a turn: `TURN_PROMPT_TOKENS` new prompt tokens and `TURN_ANSWER_TOKENS`
decoded ones, which is what a tool-calling agent does. Blocking: seconds of CPU.
"""

import ctypes
import os
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict

from shared.errors import ConfigError
from shared.inference.native import CancelFlag, Context, Weights, llama, thread_count
from shared.inference.sampling import Sampler

TURN_PROMPT_TOKENS: Final = 512
TURN_ANSWER_TOKENS: Final = 64
PROBE_PROMPT_TOKENS: Final = 192
PROBE_ANSWER_TOKENS: Final = 32
PROBE_ROUNDS: Final = 3
# Requantising an already quantised file costs some quality, so it must buy something.
MIN_SPEEDUP: Final = 1.15

_PROBE_TEXT: Final = (
    "The cold room holds vaccines between two and eight degrees; a reading outside this range is reported. "
)


class Speed(BaseModel):
    """Tokens a second; the best of some rounds, since other programs only ever make it slower."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt_tokens_per_s: float
    decode_tokens_per_s: float

    @property
    def turn_s(self) -> float:
        return TURN_PROMPT_TOKENS / self.prompt_tokens_per_s + TURN_ANSWER_TOKENS / self.decode_tokens_per_s


def measure_speed(path: Path, *, name: str, threads: int = 0, rounds: int = PROBE_ROUNDS) -> Speed:
    """Raises: ConfigError for a file that does not load."""
    with closing(Weights(path, name=name)) as weights:
        return probe(weights, threads=threads, rounds=rounds)


def probe(weights: Weights, *, threads: int = 0, rounds: int = PROBE_ROUNDS) -> Speed:
    room = PROBE_PROMPT_TOKENS + PROBE_ANSWER_TOKENS + 8
    context = Context(weights, context_tokens=room, batch_tokens=512, threads=threads, flash_attention=True)
    text = weights.tokenize(_PROBE_TEXT * PROBE_PROMPT_TOKENS, parse_special=False)
    prompt = text[:PROBE_PROMPT_TOKENS]
    prompt_s: list[float] = []
    answer_s: list[float] = []
    never = CancelFlag()
    with closing(context), closing(Sampler(weights)) as sampler:
        for _ in range(rounds):
            context.keep_prefix_of([-1])
            began = time.perf_counter()
            context.evaluate(prompt, never)
            token = sampler.pick(context)
            evaluated = time.perf_counter()
            for _ in range(PROBE_ANSWER_TOKENS):
                context.evaluate_next(token, never)
                token = sampler.pick(context)
            prompt_s.append(evaluated - began)
            answer_s.append(time.perf_counter() - evaluated)
    return Speed(
        prompt_tokens_per_s=round(PROBE_PROMPT_TOKENS / min(prompt_s), 1),
        decode_tokens_per_s=round(PROBE_ANSWER_TOKENS / min(answer_s), 1),
    )


def requantize_to_q4_0(source: Path, target: Path) -> None:
    """Q4_0 is the format llama.cpp repacks for AVX-512 and NEON. Raises: ConfigError."""
    lib = llama()
    params = lib.llama_model_quantize_default_params()
    params.ftype = lib.LLAMA_FTYPE_MOSTLY_Q4_0
    params.allow_requantize = True
    params.nthread = thread_count(0)
    if lib.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params)) != 0:
        target.unlink(missing_ok=True)
        raise ConfigError(f"llama.cpp cannot requantise {source.name}.", code="requantize_failed")


def is_worth_it(delivered: Speed, requantized: Speed) -> bool:
    return delivered.turn_s >= MIN_SPEEDUP * requantized.turn_s
