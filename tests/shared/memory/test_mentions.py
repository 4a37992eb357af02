"""What speaks of something is found wherever in a content it stands."""

import json

import pytest

from shared.memory.mentions import mentions

NAME = "Erika Mustermann"


@pytest.mark.parametrize(
    "text",
    ["call\nErika Mustermann", "Erika\nMustermann", "\tErika Mustermann", "Erika\r\n Mustermann\nknows"],
)
def test_name_beside_a_line_break_is_found_within_json(text: str) -> None:
    assert mentions(json.dumps({"said": text}).encode(), NAME)
    assert mentions(json.dumps([{text: 1}], ensure_ascii=False).encode(), NAME)
    assert mentions(json.dumps({"arguments": json.dumps({"said": text})}).encode(), NAME)


def test_other_names_are_not_found_within_json() -> None:
    assert not mentions(json.dumps({"said": "line\nErika Mustermanns"}).encode(), NAME)
