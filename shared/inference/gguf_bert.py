"""Convert a BERT sentence encoder from safetensors to GGUF, so that llama.cpp runs chat and embedding models alike.

The result names tensors as llama.cpp's own converter does: `bert` architecture, mean pooling, full attention,
WordPiece vocabulary ("##x" written as "x", "x" as U+2581 "x"). Matrices become f16; vectors and the two small
position tables stay f32. Needs numpy; reads safetensors itself (a length, a JSON header, raw data), so nothing in a
downloaded file is ever executed.
"""

import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from shared.errors import ConfigError
from shared.inference.gguf_file import TENSOR_F16, TENSOR_F32, MetadataValue, Tensor, write_gguf

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

MAX_HEADER_BYTES: Final = 1 << 20
HEAD_DIMENSION: Final = 32
LAYER_NORM_EPSILON: Final = 1e-12
POOLING_MEAN: Final = 1
TOKEN_NORMAL, TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_UNUSED = 1, 2, 3, 5
WORD_START: Final = "\u2581"

_OUTER: Final = {
    "embeddings.word_embeddings.weight": "token_embd.weight",
    "embeddings.position_embeddings.weight": "position_embd.weight",
    "embeddings.token_type_embeddings.weight": "token_types.weight",
    "embeddings.LayerNorm.weight": "token_embd_norm.weight",
    "embeddings.LayerNorm.bias": "token_embd_norm.bias",
}
_INNER: Final = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
_KEPT_F32: Final = frozenset({"position_embd.weight", "token_types.weight"})
# Not used for sentence vectors: the pooler head, and an index buffer that old exporters wrote.
_DROPPED: Final = re.compile(r"^(pooler\.|embeddings\.position_ids$)")
_LAYER: Final = re.compile(r"^encoder\.layer\.(\d+)\.(.+)\.(weight|bias)$")


def convert_bert(*, weights: Path, vocabulary: Path, target: Path, name: str) -> None:
    """Raises: ConfigError when the files are not a BERT encoder and its vocabulary."""
    tensors = _renamed(_read_safetensors(weights), source=weights)
    tokens = vocabulary.read_text(encoding="utf-8").splitlines()
    embeddings = tensors["token_embd.weight"]
    if len(tokens) != embeddings.shape[0]:
        raise ConfigError(
            f"{vocabulary} has {len(tokens)} tokens but {weights} embeds {embeddings.shape[0]}."
        )
    write_gguf(
        target, _metadata(tensors, tokens, name), [_tensor(key, value) for key, value in tensors.items()]
    )


def _read_safetensors(path: Path) -> dict[str, "Array"]:
    import numpy as np

    types: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "I64": np.dtype("<i8")}
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > MAX_HEADER_BYTES:
                raise ValueError("its header is too large")
            header: dict[str, Any] = json.loads(stream.read(length))
        data = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + length)
        arrays: dict[str, Array] = {}
        for key, entry in header.items():
            if key != "__metadata__":
                start, end = entry["data_offsets"]
                arrays[key] = data[start:end].view(types[entry["dtype"]]).reshape(entry["shape"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as exc:
        raise ConfigError(f"{path} is not a readable safetensors file: {exc}.") from exc
    return arrays


def _renamed(arrays: Mapping[str, "Array"], *, source: Path) -> dict[str, "Array"]:
    renamed: dict[str, Array] = {}
    for key, value in arrays.items():
        plain = key.removeprefix("bert.")
        if _DROPPED.match(plain):
            continue
        layer = _LAYER.match(plain)
        if plain in _OUTER:
            renamed[_OUTER[plain]] = value
        elif layer and layer[2] in _INNER:
            renamed[f"blk.{layer[1]}.{_INNER[layer[2]]}.{layer[3]}"] = value
        else:
            raise ConfigError(
                f"{source} holds the tensor {key!r}, which a BERT sentence encoder does not have."
            )
    layers = _layer_count(renamed)
    wanted = set(_OUTER.values()) | {
        f"blk.{layer}.{part}.{kind}"
        for layer in range(layers)
        for part in _INNER.values()
        for kind in ("weight", "bias")
    }
    if missing := wanted - set(renamed):
        raise ConfigError(f"{source} lacks the tensor {min(missing)!r} of a BERT sentence encoder.")
    return renamed


def _layer_count(tensors: Mapping[str, "Array"]) -> int:
    return len({key.split(".")[1] for key in tensors if key.startswith("blk.")})


def _metadata(tensors: Mapping[str, "Array"], tokens: list[str], name: str) -> dict[str, MetadataValue]:
    width = tensors["token_embd.weight"].shape[1]
    ids = {token: index for index, token in enumerate(tokens)}
    return {
        "general.architecture": "bert",
        "general.name": name,
        "bert.block_count": _layer_count(tensors),
        "bert.context_length": tensors["position_embd.weight"].shape[0],
        "bert.embedding_length": width,
        "bert.feed_forward_length": tensors["blk.0.ffn_up.weight"].shape[0],
        "bert.attention.head_count": width // HEAD_DIMENSION,
        "bert.attention.layer_norm_epsilon": LAYER_NORM_EPSILON,
        "bert.attention.causal": False,
        "bert.pooling_type": POOLING_MEAN,
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.token_type_count": tensors["token_types.weight"].shape[0],
        "tokenizer.ggml.tokens": [_as_phrase_piece(token) for token in tokens],
        "tokenizer.ggml.token_type": [_token_type(token) for token in tokens],
        "tokenizer.ggml.bos_token_id": ids["[CLS]"],
        "tokenizer.ggml.eos_token_id": ids["[SEP]"],
        "tokenizer.ggml.unknown_token_id": ids["[UNK]"],
        "tokenizer.ggml.seperator_token_id": ids["[SEP]"],  # spelt so in the format
        "tokenizer.ggml.padding_token_id": ids["[PAD]"],
        "tokenizer.ggml.cls_token_id": ids["[CLS]"],
        "tokenizer.ggml.mask_token_id": ids["[MASK]"],
    }


def _as_phrase_piece(token: str) -> str:
    if _is_bracketed(token):
        return token
    return token[2:] if token.startswith("##") else WORD_START + token


def _is_bracketed(token: str) -> bool:
    return token.startswith("[") and token.endswith("]") and len(token) > 2


def _token_type(token: str) -> int:
    if token == "[UNK]":
        return TOKEN_UNKNOWN
    if token.startswith("[unused"):
        return TOKEN_UNUSED
    return TOKEN_CONTROL if _is_bracketed(token) else TOKEN_NORMAL


def _tensor(name: str, value: "Array") -> Tensor:
    import numpy as np

    wide = value.ndim == 1 or name in _KEPT_F32
    data = np.ascontiguousarray(value, dtype=np.float32 if wide else np.float16)
    return Tensor(
        name=name, shape=tuple(reversed(data.shape)), type=TENSOR_F32 if wide else TENSOR_F16, data=data
    )
