"""The hub's answer as JSON: what is of another form, or beyond a bound, is no answer."""

import json
from dataclasses import replace
from typing import Any

import pytest

from shared.blobs import BLOB_MAX_BYTES
from shared.errors import CapacityError, ProtocolError
from shared.escalation import (
    BY_MAX_CHARS,
    LINE_MAX_CHARS,
    NUMBER_MAX,
    SOURCES_MAX,
    TEXT_MAX_CHARS,
    HubAnswer,
    HubSource,
    encode_answer,
    parse_answer,
)

KNOWN = HubAnswer(text="Close V2. [1]", sources=(HubSource(1, "Pump, page 4"),), by="quotes")
LARGEST = HubAnswer(
    text="\N{GRINNING FACE}" * TEXT_MAX_CHARS,
    sources=tuple(
        HubSource(NUMBER_MAX - number, "\N{CJK UNIFIED IDEOGRAPH-4E00}" * 300 + "x" * (LINE_MAX_CHARS - 300))
        for number in range(SOURCES_MAX)
    ),
    by="x" * BY_MAX_CHARS,
)


@pytest.mark.parametrize(
    "answer", [KNOWN, HubAnswer(text="Nothing.", is_known=False), HubAnswer(text=""), LARGEST]
)
def test_an_answer_comes_back_as_it_was(answer: HubAnswer) -> None:
    assert parse_answer(encode_answer(answer)) == answer


def test_the_largest_answer_fits_beside_its_order() -> None:
    assert len(encode_answer(LARGEST)) <= BLOB_MAX_BYTES


@pytest.mark.parametrize(
    ("changes", "bound"),
    [
        ({"text": "x" * (TEXT_MAX_CHARS + 1)}, "TEXT_MAX_CHARS"),
        ({"by": "x" * (BY_MAX_CHARS + 1)}, "BY_MAX_CHARS"),
        ({"sources": (HubSource(1, "x"),) * (SOURCES_MAX + 1)}, "SOURCES_MAX"),
        ({"sources": (HubSource(1, "x" * (LINE_MAX_CHARS + 1)),)}, "LINE_MAX_CHARS"),
        ({"sources": (HubSource(NUMBER_MAX + 1, "x"),)}, "NUMBER_MAX"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_beyond_a_bound_is_neither_sent_nor_taken(changes: dict[str, Any], bound: str) -> None:
    beyond = replace(KNOWN, **changes)
    with pytest.raises(CapacityError) as raised:
        encode_answer(beyond)
    assert raised.value.bound == bound
    told = {**_plain(KNOWN), **_plain(beyond)}
    with pytest.raises(ProtocolError):
        parse_answer(json.dumps(told).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"null",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"text": "x", "sources": [], "by": "", "is_known": true, "more": 1}',
        b'{"text": 1, "sources": [], "by": "", "is_known": true}',
        b'{"text": "\\ud800", "sources": [], "by": "", "is_known": true}',
        b'{"text": "x", "sources": {}, "by": "", "is_known": true}',
        b'{"text": "x", "sources": [], "by": null, "is_known": true}',
        b'{"text": "x", "sources": [], "by": "", "is_known": 1}',
        b'{"text": "x", "sources": [1], "by": "", "is_known": true}',
        b'{"text": "x", "sources": [{"number": 1}], "by": "", "is_known": true}',
        b'{"text": "x", "sources": [{"number": 0, "line": "x"}], "by": "", "is_known": true}',
        b'{"text": "x", "sources": [{"number": true, "line": "x"}], "by": "", "is_known": true}',
        b'{"text": "x", "sources": [{"number": 1.0, "line": "x"}], "by": "", "is_known": true}',
        b'{"text": "x", "sources": [{"number": 1, "line": ""}, {"number": 1, "line": ""}], "by": "", "is_known": true}',
    ],
)  # fmt: skip
def test_anything_else_is_no_answer(data: bytes) -> None:
    """P31"""
    with pytest.raises(ProtocolError):
        parse_answer(data)


def _plain(answer: HubAnswer) -> dict[str, Any]:
    return {
        "text": answer.text,
        "sources": [{"number": each.number, "line": each.line} for each in answer.sources],
        "by": answer.by,
        "is_known": answer.is_known,
    }
