"""`./run bench recall`, tiny and without a model: measures are TREC's, and every key is there."""

import json
from pathlib import Path

import pytest

from shared.errors import ConfigError
from tests.bench.recall import bench
from tests.bench.recall.judged import average_precision, ndcg, quality, read, recall
from tests.support.device import bytes_from
from tests.support.vector_index import HashingEmbedder

DOCS = (
    {"id": "a", "title": "Pump", "text": "Close valve V2 before cleaning the pump."},
    {"id": "b", "title": "Oven", "text": "The oven reaches 250 degrees."},
    {"id": "c", "title": "Bell", "text": ""},
    {"id": "d", "title": "Filter", "text": "The filter is changed twice a year."},
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    directory = tmp_path / "tiny"
    directory.mkdir()
    (directory / "docs.jsonl").write_text("\n".join(map(json.dumps, DOCS)))
    queries = [
        {"id": "1", "text": "cleaning the pump"},
        {"id": "2", "text": "bell"},
        {"id": "3", "text": "unjudged"},
    ]
    (directory / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (directory / "qrels.txt").write_text("1 0 a 1\n1 0 b 0\n2 0 c 1\n")
    return directory


def test_measures_are_those_of_trec() -> None:
    grades = {"a": 1, "b": 1, "z": 1}
    assert ndcg(["a", "x", "b"], grades) == pytest.approx((1 + 0.5) / (1 + 0.63093 + 0.5), abs=1e-4)
    assert recall(["a", "x", "b"], grades) == pytest.approx(2 / 3)
    assert average_precision(["a", "x", "b"], grades) == pytest.approx((1 + 2 / 3) / 3)


def test_queries_that_nobody_judged_do_not_count(data: Path) -> None:
    collection = read(data)
    assert set(collection.queries) == {"1", "2"}
    perfect = quality(collection, {"1": ["a", "b"], "2": ["c"]})
    assert (perfect.ndcg10, perfect.recall10, perfect.map) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("file", ["docs.jsonl", "queries.jsonl", "qrels.txt"])
def test_a_folder_that_is_laid_out_otherwise_is_said(data: Path, file: str) -> None:
    (data / file).write_text("this is not it")
    with pytest.raises(ConfigError, match="laid out"):
        read(data)


@pytest.mark.slow
def test_the_whole_bench_runs_and_tells_every_figure(data: Path, tmp_path: Path) -> None:
    embedder = HashingEmbedder(bytes_from("model", 32))
    found = bench.measure(
        tmp_path, read(data), embedder, runs=1, sizes=(300,), dialogue_count=2, near_miss_count=50
    )
    told = json.loads(bench.json_line(found))
    assert list(told) == [
        "bench", "collection", "cacm", "parity", "memory", "abstention", "cache", "delta_share", "recall_ratio_0k",
        "chunks_per_s", "rss_mb",
    ]  # fmt: skip
    assert told["cacm"]["fused"] == {"ndcg10": 1.0, "recall10": 1.0, "map": 1.0}
    assert told["parity"] == 1.0
    assert set(told["memory"]) == {"plain_top5", "ours_top5"}
    assert set(told["abstention"]) == {"precision", "recall"}
    assert told["cache"]["wrong_hits"] == 0
    assert 0 < told["delta_share"] < 0.02
    assert told["rss_mb"] > 50
