"""What nobody sees goes, what languages need stays."""

import pytest

from cloud.knowledge.extraction.cleaning import cleaned


@pytest.mark.parametrize(
    "text",
    [
        "می\u200cخواهم",  # Persian: the non-joiner is spelling
        "क्\u200dष",  # Hindi: so is the joiner
        "👩\u200d👩\u200d👧 ❤\ufe0f 👍🏽",  # emoji of several parts
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # the flag of England
        "\u2764\ufe0f\u200d\U0001f525",  # a heart on fire: selector and joiner
        "ភាសា\u200bខ្មែរ",  # Khmer: where words end
        "葛\U000e0100城",  # a variant of an ideogram
        "שָׁלוֹם", "العَرَبِيَّة", "日本語", "한국어", "ไทย", "Ελληνικά", "Tiếng Việt", "a\tb\nc",
    ],
)  # fmt: skip
def test_spelling_stays(text: str) -> None:
    clean = cleaned(text)
    assert (clean.text, clean.hidden, clean.controls) == (text, 0, 0)


@pytest.mark.parametrize(
    ("text", "seen", "count"),
    [
        ("a\u202eb\u202cc", "abc", 2),  # override
        ("\u2066x\u2069\u200e\u200f\u061c", "x", 5),  # isolates and marks
        ("pass\u200bword", "password", 1),
        ("a\u200cb\u200dc", "abc", 2),
        ("\ufeffx\u2060\u2061\u180e", "x", 4),
        ("x\U000e0049\U000e0047", "x", 2),  # tags outside a flag
        ("x\ufe0f\ufe0e\ufe00", "x", 3),  # selectors in a row carry bytes
    ],
)
def test_hidden_characters_go_and_are_counted(text: str, seen: str, count: int) -> None:
    clean = cleaned(text)
    assert (clean.text, clean.hidden) == (seen, count)


def test_controls_go_and_are_counted() -> None:
    clean = cleaned("a\0b\x1b[31m\x07\x7f\ufffe\ud800")
    assert (clean.text, clean.controls) == ("ab[31m", 6)


def test_every_line_end_is_a_line_feed() -> None:
    assert cleaned("a\r\nb\rc\u2028d\x85e\x0cf").text == "a\nb\nc\nd\ne\nf"


def test_soft_hyphens_go_unseen() -> None:
    assert cleaned("main\u00adte\u00adnance") == cleaned("maintenance")


@pytest.mark.slow
def test_long_text_is_cleaned_in_little_time() -> None:
    hostile = "\u200d\u200b\u202e a" * 200_000
    assert cleaned(hostile).text == " a" * 200_000
