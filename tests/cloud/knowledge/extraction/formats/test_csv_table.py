"""CSV in its dialects."""

import pytest

from cloud.knowledge.extraction import Extractor
from tests.cloud.knowledge.extraction.shown import blocks, refusal

TABLE = "| Part | Price |\n| --- | --- |\n| Seal, round | 12 |\n| Ring | 3 |"


@pytest.mark.parametrize(
    "content",
    [
        'Part,Price\r\n"Seal, round",12\r\nRing,3\r\n',
        "Part;Price\nSeal, round;12\nRing;3",
        "Part\tPrice\nSeal, round\t12\n\nRing\t3\n",
        "Part|Price\nSeal, round|12\nRing|3\n",
        "sep=;\nPart;Price\nSeal, round;12\nRing;3",
    ],
    ids=["commas", "semicolons", "tabs", "pipes", "named"],
)
def test_dialects_are_told_apart(extractor: Extractor, content: str) -> None:
    assert blocks(extractor.extract("a.csv", content.encode())) == [("table", TABLE)]


def test_line_breaks_pipes_and_ragged_rows_in_cells(extractor: Extractor) -> None:
    content = 'a,b\n"one\ntwo",x|y\nshort\n1,2,3\n'
    assert blocks(extractor.extract("a.csv", content.encode())) == [
        ("table", "| a | b |\n| --- | --- |\n| one two | x\\|y |\n| short |  |\n| 1 | 2 | 3 |")
    ]


def test_one_column_is_a_table_too(extractor: Extractor) -> None:
    assert blocks(extractor.extract("a.csv", b"Part\nSeal\n")) == [("table", "| Part |\n| --- |\n| Seal |")]


def test_quote_that_never_closes_takes_the_rest(extractor: Extractor) -> None:
    assert blocks(extractor.extract("a.csv", b'a,b\n1,"2\n3')) == [
        ("table", "| a | b |\n| --- | --- |\n| 1 | 2 3 |")
    ]


def test_blank_file_has_no_text(extractor: Extractor) -> None:
    assert refusal(extractor, "a.csv", b"\n\n , \n") == "no_text"
