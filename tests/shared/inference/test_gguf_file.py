"""Headers of GGUF files: a broken file is refused here, before llama.cpp maps it."""

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.inference.gguf_file import (
    ARRAY,
    MAGIC,
    TENSOR_F16,
    TENSOR_F32,
    GgufError,
    MetadataValue,
    Tensor,
    read_header,
    write_gguf,
)


class Raw:
    def __init__(self, length: int) -> None:
        self.nbytes = length

    def tobytes(self) -> bytes:
        return bytes(self.nbytes)


METADATA: dict[str, MetadataValue] = {
    "general.architecture": "bert",
    "count": 7,
    "epsilon": 0.5,
    "causal": False,
    "tokens": ["a", "ß", ""],
    "types": [1, 3, 1],
}
TENSORS = [Tensor("a", (3, 5), TENSOR_F16, Raw(30)), Tensor("b", (4,), TENSOR_F32, Raw(16))]


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "m.gguf"
    write_gguf(path, METADATA, TENSORS)
    return path


def test_written_file_is_read_back(whole: Path) -> None:
    header = read_header(whole)
    assert header.architecture == "bert"
    assert header.tensor_count == 2
    assert dict(header.metadata) == {
        "general.architecture": "bert",
        "count": 7,
        "epsilon": 0.5,
        "causal": False,
    }


def test_file_cut_anywhere_is_refused(whole: Path, tmp_path: Path) -> None:
    content = whole.read_bytes()
    needed = len(content) - 16  # the padding behind the last tensor is not needed
    cut = tmp_path / "cut.gguf"
    for length in range(4, needed):
        cut.write_bytes(content[:length])
        with pytest.raises(GgufError, match=r"is truncated|ends inside"):
            read_header(cut)
    cut.write_bytes(content[:needed])
    assert read_header(cut).tensor_count == 2


@pytest.mark.parametrize("content", [b"", b"GGU", b"PK\x03\x04 a zip file", b"<html>not found</html>"])
def test_other_files_are_not_gguf(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(GgufError, match="not a GGUF file"):
        read_header(path)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (struct.pack("<IQQ", 3, 2**40, 0), "claims more"),
        (struct.pack("<IQQ", 3, 0, 2**40), "claims more"),
        (struct.pack("<IQQQ", 3, 0, 1, 2**62), "impossible text"),
        (struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"k", 99), "unknown type 99"),
        (struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", ARRAY, ARRAY, 1), "list of unknown type"),
        (struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", ARRAY, 8, 2**60), "ends inside"),
        (struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"k", ARRAY, 4, 2**60), "ends inside"),
        (struct.pack("<IQQQ1sI", 3, 1, 0, 1, b"t", 9), "too many dimensions"),
        (struct.pack("<IQQQ1sIQIQ", 3, 1, 0, 1, b"t", 1, 2**60, 0, 0), "is truncated"),
        (struct.pack("<IQQQ1sIQIQ", 3, 1, 0, 1, b"t", 1, 1, 0, 2**60), "is truncated"),
    ],
)
def test_impossible_header_is_refused(tmp_path: Path, body: bytes, words: str) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(MAGIC + body)
    with pytest.raises(GgufError, match=words):
        read_header(path)


@settings(max_examples=200, deadline=None)
@given(st.data())
@pytest.mark.slow
def test_flipped_bytes_are_refused_or_read_but_never_anything_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("flip") / "m.gguf"
    write_gguf(path, METADATA, TENSORS)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        header = read_header(path)
    except GgufError:
        return
    assert header.file_bytes == len(content)
