"""Whether requantising pays is decided by a number; how to get the number, with the real model."""

from pathlib import Path

import pytest

from shared.errors import ConfigError
from shared.inference.gguf_file import read_header
from shared.inference.install import find_installed
from shared.inference.measure import Speed, is_worth_it, measure_speed, requantize_to_q4_0


def test_file_is_replaced_only_by_one_that_is_clearly_faster() -> None:
    now = Speed(prompt_tokens_per_s=100, decode_tokens_per_s=30)
    assert is_worth_it(now, Speed(prompt_tokens_per_s=200, decode_tokens_per_s=35))
    assert not is_worth_it(now, Speed(prompt_tokens_per_s=105, decode_tokens_per_s=32))
    assert not is_worth_it(now, Speed(prompt_tokens_per_s=200, decode_tokens_per_s=10))


@pytest.mark.model
def test_requantised_file_loads_and_runs(models_dir: Path, tmp_path: Path) -> None:
    model = find_installed(models_dir, "smollm2-135m-instruct")
    made = tmp_path / "again.gguf"
    requantize_to_q4_0(model.path, made)
    assert read_header(made).tensor_count == read_header(model.path).tensor_count
    speed = measure_speed(made, name=model.name, rounds=1)
    assert speed.prompt_tokens_per_s > 0
    assert speed.decode_tokens_per_s > 0


@pytest.mark.model
def test_file_that_cannot_be_requantised_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.gguf").write_bytes(b"no model")
    with pytest.raises(ConfigError, match=r"cannot requantise no\.gguf"):
        requantize_to_q4_0(tmp_path / "no.gguf", tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()
