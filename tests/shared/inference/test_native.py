"""Weights and contexts of llama.cpp with the real SmolLM2: cancelling inside and between batches, tokens, pieces."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from shared.errors import ConfigError
from shared.inference.install import find_installed
from shared.inference.native import OPENMP_SPINS, CancelFlag, Cancelled, Context, Vocabulary, Weights
from shared.inference.sampling import Sampler

pytestmark = pytest.mark.model

BATCH_TOKENS = 32


@pytest.fixture(scope="module")
def weights(models_dir: Path) -> Iterator[Weights]:
    installed = find_installed(models_dir, "smollm2-135m-instruct")
    with closing(Weights(installed.path, name=installed.name)) as weights:
        yield weights


@pytest.fixture
def context(weights: Weights) -> Iterator[Context]:
    with closing(
        Context(weights, context_tokens=512, batch_tokens=BATCH_TOKENS, threads=1, flash_attention=True)
    ) as context:
        yield context


class SeenOnlyByLlamaCpp(CancelFlag):
    """Set, and our own looks at it say no: whoever stops now, stops because llama.cpp looked."""

    def __init__(self) -> None:
        super().__init__()
        self.set()

    @property
    def is_set(self) -> bool:
        return False


class SetAtLook(CancelFlag):
    def __init__(self, number: int) -> None:
        super().__init__()
        self._looks_left = number

    @property
    def is_set(self) -> bool:
        self._looks_left -= 1
        if self._looks_left == 0:
            self.set()
        return super().is_set


def prompt(weights: Weights, length: int) -> list[int]:
    return weights.tokenize("the cold room is warm " * length, parse_special=False)[:length]


def test_llama_cpp_itself_stops_inside_a_batch(weights: Weights, context: Context) -> None:
    tokens = prompt(weights, BATCH_TOKENS)
    with pytest.raises(Cancelled):
        context.evaluate(tokens, SeenOnlyByLlamaCpp())
    assert context.keep_prefix_of(tokens) == 0
    context.evaluate(tokens, CancelFlag())
    assert context.keep_prefix_of([*tokens, 0]) == len(tokens)


def test_batches_evaluated_before_a_cancellation_stay_usable(weights: Weights, context: Context) -> None:
    tokens = prompt(weights, 4 * BATCH_TOKENS)
    with pytest.raises(Cancelled):
        context.evaluate(tokens, SetAtLook(5))  # two looks a batch: the third batch is not begun
    kept = context.keep_prefix_of(tokens)
    assert kept == 2 * BATCH_TOKENS
    context.evaluate(tokens[kept:], CancelFlag())
    with closing(Sampler(weights)) as sampler:
        resumed = sampler.pick(context)
        context.keep_prefix_of([-1])
        context.evaluate(tokens, CancelFlag())
        assert sampler.pick(context) == resumed


def test_cancelled_next_token_leaves_the_context_as_it_was(weights: Weights, context: Context) -> None:
    tokens = prompt(weights, 8)
    context.evaluate(tokens, CancelFlag())
    flag = CancelFlag()
    flag.set()
    with pytest.raises(Cancelled):
        context.evaluate_next(tokens[0], flag)
    assert context.keep_prefix_of([*tokens, tokens[0], 0]) == len(tokens)


def test_text_and_tokens_are_the_same_text(weights: Weights) -> None:
    text = 'Ärger: 4.2 °C — "quoted"\n\t漢字 🥶'
    tokens = weights.tokenize(text, parse_special=False)
    assert b"".join(map(weights.piece, tokens)).decode() == text


def test_control_tokens_are_parsed_only_when_asked_and_have_no_text(weights: Weights) -> None:
    (mark,) = weights.tokenize("<|im_end|>", parse_special=True)
    assert weights.is_end(mark)
    assert weights.piece(mark) == b""
    spelt = weights.tokenize("<|im_end|>", parse_special=False)
    assert mark not in spelt
    assert len(spelt) > 1


def test_text_with_half_a_surrogate_pair_is_still_tokenised(weights: Weights) -> None:
    assert weights.tokenize("a\ud800b", parse_special=False)


def test_tokens_are_counted_without_the_weights_as_with_them(models_dir: Path) -> None:
    path = find_installed(models_dir, "all-minilm-l6-v2").path
    texts = [
        "",
        "warm",
        "Ärger mit dem Kühlschrank: 4.2 °C — 漢字 🥶",
        "[SEP] <|im_end|>",
        "a\ud800b",
        "word " * 3000,
    ]
    with closing(Weights(path, name="m")) as weights, closing(Vocabulary(path, name="m")) as vocabulary:
        counted = [vocabulary.count(text) for text in texts]
        assert counted == [len(weights.tokenize(text, parse_special=False)) for text in texts]
        assert counted[-1] == 3000
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(vocabulary.count, texts * 50)) == counted * 50


def test_vocabulary_of_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    with pytest.raises(ConfigError, match="model install m"):
        Vocabulary(tmp_path / "m.gguf", name="m")


def test_directory_is_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Weights(tmp_path, name="m")


@pytest.mark.parametrize(("set_by_operator", "seen"), [(None, str(OPENMP_SPINS)), ("77", "77")])
def test_waiting_threads_give_way_unless_the_operator_says_otherwise(
    set_by_operator: str | None, seen: str
) -> None:
    program = (
        "import ctypes; from shared.inference.native import share_processors; share_processors();"
        "get = ctypes.CDLL(None).getenv; get.restype = ctypes.c_char_p; print(get(b'GOMP_SPINCOUNT').decode())"
    )
    environment = {key: value for key, value in os.environ.items() if key != "GOMP_SPINCOUNT"}
    if set_by_operator is not None:
        environment["GOMP_SPINCOUNT"] = set_by_operator
    child = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert child.stdout.strip() == seen
