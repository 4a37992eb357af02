"""A text's statements can be told alone, and the ones that say best what is asked are found."""

from shared.knowledge.quoting import best_statements, statements, without_marks

CODES = (
    "| Code | Meaning | What to do |\n| --- | --- | --- |\n"
    "| E3 | The door stands open | Shut the door |\n"
    "| E4 | The condenser is too hot | Brush the dust off |"
)
OIL = "The compressor takes polyester oil, grade ISO 68. The oil is changed\nafter 10,000 hours of work."


def test_a_sentence_is_one_across_the_lines_of_its_paragraph() -> None:
    assert statements(OIL) == [
        "The compressor takes polyester oil, grade ISO 68.",
        "The oil is changed after 10,000 hours of work.",
    ]
    assert statements("Wait approx. five minutes.\n\nThen go on.") == [
        "Wait approx. five minutes.",
        "Then go on.",
    ]


def test_an_item_of_a_list_is_told_without_its_mark_and_with_its_other_lines() -> None:
    listed = "In short:\n1. Keep the door shut.\n2. Wait until the\n   fan stands.\n- Call 112."
    assert statements(listed) == [
        "In short:",
        "Keep the door shut.",
        "Wait until the fan stands.",
        "Call 112.",
    ]
    assert without_marks("3. Wait 10 minutes.\n4 pieces, 5. part") == "Wait 10 minutes.\n4 pieces, 5. part"


def test_a_row_of_a_table_is_told_with_the_names_of_its_columns() -> None:
    assert statements(CODES) == [
        "Code: E3; Meaning: The door stands open; What to do: Shut the door",
        "Code: E4; Meaning: The condenser is too hot; What to do: Brush the dust off",
    ]
    assert statements("| a | | b \\| c |") == ["a; b | c"]
    assert statements("") == []


def test_what_is_rare_among_the_statements_decides() -> None:
    (found,) = best_statements("What does fault code E4 mean?", [("fault codes", CODES)], most=1)
    assert found.words.startswith("Code: E4;")
    assert found.coverage == 1.0


def test_statements_come_from_one_text_in_its_order_and_the_second_only_if_it_says_as_much() -> None:
    found = best_statements("When is the oil changed?", [("Unit, Oil", OIL), ("codes", CODES)], most=2)
    assert [(place.text, place.words[:7]) for place in found] == [(0, "The oil")]
    found = best_statements(
        "Of which kind is the oil of the compressor, and when is it changed?", [("", OIL)], most=2
    )
    assert [place.at for place in found] == [0, 1]


def test_of_texts_that_say_the_same_the_first_is_told() -> None:
    (found,) = best_statements("Which oil?", [("", "Polyester oil."), ("", "Polyester oil.")], most=1)
    assert found.text == 0
    assert best_statements("Which oil?", [], most=2) == []
