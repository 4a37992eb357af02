"""From a publisher's safetensors to the GGUF that llama.cpp reads; the vectors are checked in test_embed_llama.py."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from shared.errors import ConfigError
from shared.inference.gguf_bert import convert_bert
from shared.inference.gguf_file import read_header

VOCABULARY = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cold", "##er", "["]
WIDTH, INNER, LAYERS = 32, 64, 2


def tensors() -> dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]:
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(VOCABULARY), WIDTH),
        "embeddings.position_embeddings.weight": (16, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
        "embeddings.LayerNorm.weight": (WIDTH,),
        "embeddings.LayerNorm.bias": (WIDTH,),
        "pooler.dense.weight": (WIDTH, WIDTH),
    }
    for layer in range(LAYERS):
        for part, shape in {
            "attention.self.query": (WIDTH, WIDTH),
            "attention.self.key": (WIDTH, WIDTH),
            "attention.self.value": (WIDTH, WIDTH),
            "attention.output.dense": (WIDTH, WIDTH),
            "attention.output.LayerNorm": (WIDTH,),
            "intermediate.dense": (INNER, WIDTH),
            "output.dense": (WIDTH, INNER),
            "output.LayerNorm": (WIDTH,),
        }.items():
            shapes[f"encoder.layer.{layer}.{part}.weight"] = shape
            shapes[f"encoder.layer.{layer}.{part}.bias"] = shape[:1]
    return {name: np.ones(shape, dtype=np.float32) for name, shape in shapes.items()}


def write_safetensors(
    path: Path, arrays: dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]
) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, array in arrays.items():
        offsets = [len(data), len(data) + array.nbytes]
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": offsets}
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def convert(tmp_path: Path, arrays: dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]) -> Path:
    write_safetensors(tmp_path / "model.safetensors", arrays)
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    target = tmp_path / "m.gguf"
    convert_bert(
        weights=tmp_path / "model.safetensors", vocabulary=tmp_path / "vocab.txt", target=target, name="mini"
    )
    return target


def test_encoder_is_written_with_the_shape_that_its_tensors_have(tmp_path: Path) -> None:
    header = read_header(convert(tmp_path, tensors()))
    assert header.architecture == "bert"
    assert header.tensor_count == 5 + LAYERS * 16  # the pooler is left out
    assert header.metadata["bert.block_count"] == LAYERS
    assert header.metadata["bert.context_length"] == 16
    assert header.metadata["bert.embedding_length"] == WIDTH
    assert header.metadata["bert.feed_forward_length"] == INNER
    assert header.metadata["bert.attention.causal"] is False
    assert header.metadata["tokenizer.ggml.cls_token_id"] == 3


def test_word_pieces_are_spelt_as_llama_cpp_spells_them(tmp_path: Path) -> None:
    content = convert(tmp_path, tensors()).read_bytes()
    for token in ("\u2581cold", "er", "[CLS]", "\u2581["):
        raw = token.encode()
        assert struct.pack("<Q", len(raw)) + raw in content


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    first = convert(tmp_path, tensors()).read_bytes()
    assert convert(tmp_path, tensors()).read_bytes() == first


def test_missing_tensor_is_named(tmp_path: Path) -> None:
    arrays = tensors()
    del arrays["encoder.layer.1.output.dense.bias"]
    with pytest.raises(ConfigError, match=r"blk\.1\.ffn_down\.bias"):
        convert(tmp_path, arrays)


def test_foreign_tensor_is_named(tmp_path: Path) -> None:
    arrays = tensors() | {"lm_head.weight": np.ones((2, 2), dtype=np.float32)}
    with pytest.raises(ConfigError, match=r"lm_head\.weight"):
        convert(tmp_path, arrays)


def test_vocabulary_of_another_size_is_refused(tmp_path: Path) -> None:
    arrays = tensors()
    arrays["embeddings.word_embeddings.weight"] = np.ones((3, WIDTH), dtype=np.float32)
    with pytest.raises(ConfigError, match="9 tokens but"):
        convert(tmp_path, arrays)


@pytest.mark.parametrize(
    "content", [b"", b"12345678", struct.pack("<Q", 2**50), struct.pack("<Q", 2) + b"[]"]
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    (tmp_path / "vocab.txt").write_text("a")
    with pytest.raises(ConfigError, match="not a readable safetensors file"):
        convert_bert(
            weights=tmp_path / "model.safetensors",
            vocabulary=tmp_path / "vocab.txt",
            target=tmp_path / "m.gguf",
            name="mini",
        )
