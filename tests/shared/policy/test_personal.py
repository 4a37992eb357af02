"""Personal data is found however it is written, can be put back, and is not seen where there is none."""

from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.errors import CapacityError
from shared.policy.personal import CLASSES, Found, Recogniser, Redaction
from shared.policy.personal.redaction import VALUE_MAX_CHARS, VALUE_MAX_DEPTH, VALUE_MAX_NODES
from tests.shared.policy.growth import SLOW_SEEDS, calls

NAMES: Final = ("Anna Müller", "O'Brien, Sean", "Jan van der Berg", "山田太郎", "Łukasz Żak", "Cher")
ALL: Final = Recogniser(CLASSES, names=NAMES)


def found_in(text: str) -> list[tuple[str, str]]:
    return [(found.cls, text[found.start : found.end]) for found in ALL.find(text)]


@pytest.mark.parametrize(
    ("cls", "text"),
    [
        ("email", "anna@example.com"),
        ("email", "a.b+c_d@mail.example.co.uk"),
        ("email", "müller@exämple.de"),
        ("email", '"john smith"@example.com'),
        ("email", "name [at] example [dot] com"),
        ("email", "name(at)example(dot)com"),
        ("email", "name at example dot com"),
        ("email", "me at gmail.com"),
        ("email", "anna @ example.com"),
        ("email", "anna%40example.com"),
        ("email", "anna%2540example%252Ecom"),
        ("email", "anna&#64;example.com"),
        ("email", r"anna\u0040example.com"),
        ("email", "an\u200bna@exam\u00adple.com"),
        ("email", "ａｎｎａ＠ｅｘａｍｐｌｅ．ｃｏｍ"),
        ("card", "4111111111111111"),
        ("card", "4111 1111 1111 1111"),
        ("card", "4111-1111-1111-1111"),
        ("card", "4111.1111.1111.1111"),
        ("card", "4111 – 1111 – 1111 – 1111"),
        ("card", "3782 822463 10005"),
        ("card", "378282246310005"),
        ("card", "5555555555554444"),
        ("card", "2223003122003222"),
        ("card", "6011 1111 1111 1117"),
        ("card", "3530111333300000"),
        ("card", "４１１１１１１１１１１１１１１１"),
        ("card", "4111\u200b1111\u00ad1111\u20601111"),
        ("card", "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"),
        ("card", "4111%201111%201111%201111"),
        ("card", "٤١١١١١١١١١١١١١١١"),
        ("iban", "DE89 3704 0044 0532 0130 00"),
        ("iban", "GB29NWBK60161331926819"),
        ("iban", "fr14 2004 1010 0505 0001 3m02 606"),
        ("iban", "NO93-8601-1117-947"),
        ("phone", "+49 30 901820"),
        ("phone", "+49 (0)30 901820"),
        ("phone", "+1 202-456-1111"),
        ("phone", "+442079460018"),
        ("phone", "+39 06 69821"),
        ("phone", "0049 30 1234567"),
        ("phone", "(212) 555-1234"),
        ("phone", "212-555-1234"),
        ("phone", "1-800-555-1234"),
        ("phone", "030/901820"),
        ("phone", "(030) 1234567"),
        ("phone", "0171 1234567"),
        ("phone", "020 7946 0018"),
        ("phone", "01 42 68 53 00"),
        ("phone", "%2B49 30 901820"),
        ("national_id", "123-45-6789"),
        ("national_id", "1 85 07 78 006 084 26"),
        ("national_id", "RSSMRA85T10A562S"),
        ("national_id", "12345678Z"),
        ("national_id", "X1234567L"),
        ("national_id", "111.444.777-35"),
        ("national_id", "811228-9874"),
        ("national_id", "131052-308T"),
        ("national_id", "756.9217.0769.85"),
        ("national_id", "85.07.30-033.28"),
        ("national_id", "AB 12 34 56 C"),
        ("national_id", "11010519491231002X"),
        ("name", "Anna Müller"),
        ("name", "MÜLLER, ANNA"),
        ("name", "anna mueller"),
        ("name", "Anna Mu\u0308ller"),
        ("name", "Аnnа Müller"),  # Cyrillic А and а
        ("name", "Sean O’Brien"),
        ("name", "van der Berg, Jan"),
        ("name", "Lukasz Zak"),
        ("name", "山田太郎"),
    ],
)
def test_value_is_found_whole_within_a_sentence(cls: str, text: str) -> None:
    sentence = f"Write it: {text}; thanks"
    assert found_in(sentence) == [(cls, text)]


@pytest.mark.parametrize(
    ("cls", "announced"),
    [
        ("phone", "Tel.: {}|1234567"),
        ("phone", "phone_number={}|2125551234"),
        ("phone", "Mein Handy ist {}|017612345678"),
        ("phone", "call me at {}|612 345 678"),
        ("card", "credit card {}|4222222222222"),
        ("card", "Visa number {}|41 1111 1111 1111 11"),
        ("national_id", "SSN {}|123456789"),
        ("national_id", "BSN: {}|111222333"),
        ("national_id", "PESEL {}|44051401359"),
        ("national_id", "NHS number {}|943 476 5919"),
        ("national_id", "Steuer-ID {}|36 574 261 809"),
        ("national_id", "NINO {}|AB123456C"),
        ("national_id", "Aadhaar {}|2341 2341 2346"),
        ("national_id", "PPS {}|1234567T"),
    ],
)
def test_value_without_strong_form_counts_only_after_its_word(cls: str, announced: str) -> None:
    template, _, value = announced.partition("|")
    assert (cls, value) in found_in(template.format(value))
    assert found_in(f"The reading was {value}.") == []


@pytest.mark.parametrize(
    "text",
    [
        "Order 4111111111111112 of today",  # Luhn says no
        "order no. 1234567890",
        "invoice 030-1234567",
        "serial 212-555-1234",
        "550e8400-e29b-41d4-a716-446655440000",
        "2024-01-31T10:15:30.123456+01:00",
        "2024-01-31 10:15:30",
        "31.12.2024 and 12/31/2024",
        "epoch 1700000000, 1700000000000, 1700000000000000, 1700000000000000000",
        "192.168.100.200:8080 and 10.0.0.0/8",
        "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
        "00:1a:2b:3c:4d:5e",
        "v1.2.3.4567 and 10.15.7 and 2.31.0rc1",
        "0.4532015112830366 and 3.1415926535897932",
        "temperature 21.5 22.0 21.75 20.125",
        "adc 4012 4511 4090 4233 4111 4004 4321 4100 4099 4444",
        "05 06 07 08 09 10 11 12",
        "012 013 014 015 016 017",
        "1,234,567.89 EUR and $12,500.00",
        "d41d8cd98f00b204e9800998ecf8427e",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "IMEI 490154203237518",
        "ISBN 978-3-16-148410-0",
        "icon@2x.png and getty@tty1.service",
        "@decorator\n@app.route and user@localhost",
        "look at example.com for more",
        "lines at any point of the text, minimize at each point in time, look at each dot on it",
        "3 @ 5.00",
        "pkg@1.2.3",
        "GMT+0100 and C++ 11 and +20000000",
        "DE00 3704 0044 0532 0130 00",  # wrong check digits
        "666-45-6789 and 123-00-6789",
        "12345678A",
        "Annabel Müllerin; Anna met Berta Müller",
        "Cheryl went home",
        "rows 1-100, 200-300, 400-500",
    ],
)
def test_number_of_a_thing_is_nobodys(text: str) -> None:
    assert found_in(text) == []


def test_the_longer_find_wins_and_nothing_overlaps() -> None:
    text = "anna.mueller@example.com"
    assert Recogniser({"name"}, names=["Anna Müller"]).find(text) == (Found("name", 0, 12),)
    assert ALL.find(text) == (Found("email", 0, len(text)),)


def test_only_the_classes_asked_for_are_found() -> None:
    text = "anna@example.com 4111111111111111"
    assert [found.cls for found in Recogniser({"card"}).find(text)] == ["card"]


def test_unknown_class_is_refused() -> None:
    with pytest.raises(ValueError, match="no class of personal data"):
        Recogniser({"shoe_size"})


def test_same_value_gets_the_same_placeholder_and_another_gets_another() -> None:
    text, _ = ALL.redact("a@example.com b@example.com a@example.com")
    assert text == "[email 1] [email 2] [email 1]"


def test_numbers_go_on_over_several_calls() -> None:
    redaction = Redaction()
    ALL.redact("a@example.com", into=redaction)
    text, _ = ALL.redact("b@example.com, a@example.com", into=redaction)
    assert text == "[email 2], [email 1]"


def test_what_is_to_be_kept_stays() -> None:
    text, found = ALL.redact(
        "a@example.com b@other.org", keep=lambda _found, surface: surface.endswith("@example.com")
    )
    assert text == "a@example.com [email 1]"
    assert found == (Found("email", 14, 25),)


def test_placeholder_that_somebody_wrote_is_not_given_out() -> None:
    redaction = Redaction()
    text, _ = ALL.redact("[email 1] is not a@example.com", into=redaction)
    assert text == "[email 1] is not [email 2]"
    assert redaction.restore(text) == "[email 1] is not a@example.com"


def test_value_is_redacted_in_strings_keys_and_numbers_and_restored() -> None:
    value = {
        "phone": 4915112345678,
        "anna@example.com": [4111111111111111, 4111111111111111.0, {"ssn": "123456789"}],
        "created": 1700000000,
        "ok": True,
        "ratio": 0.25,
        "nothing": None,
    }
    redaction = Redaction()
    redacted, found = ALL.redact_value(value, into=redaction)
    assert redacted == {
        "phone": "[phone 1]",
        "[email 1]": ["[card 1]", "[card 2]", {"ssn": "[national_id 1]"}],
        "created": 1700000000,
        "ok": True,
        "ratio": 0.25,
        "nothing": None,
    }
    assert [(each.path, each.is_key) for each in found] == [
        ("/phone", False),
        ("/[email 1]", True),
        ("/[email 1]/0", False),
        ("/[email 1]/1", False),
        ("/[email 1]/2/ssn", False),
    ]
    restored = redaction.restore_value(redacted)
    assert restored == value
    assert isinstance(restored, dict)
    assert [type(item) for item in restored["anna@example.com"]] == [int, float, dict]


def nested(depth: int) -> object:
    value: object = "leaf"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("bound", "fits", "exceeds"),
    [
        ("VALUE_MAX_DEPTH", nested(VALUE_MAX_DEPTH), nested(VALUE_MAX_DEPTH + 1)),
        ("VALUE_MAX_NODES", [0] * (VALUE_MAX_NODES - 1), [0] * VALUE_MAX_NODES),
    ],
)
def test_value_beyond_a_bound_is_not_passed_for_looked_at(bound: str, fits: object, exceeds: object) -> None:
    assert ALL.redact_value(fits) == (fits, ())
    with pytest.raises(CapacityError) as raised:
        ALL.redact_value(exceeds)
    assert raised.value.bound == bound


def test_value_with_too_many_characters_is_refused() -> None:
    with pytest.raises(CapacityError) as raised:
        ALL.find_value(["a" * VALUE_MAX_CHARS, "b"])
    assert raised.value.bound == "VALUE_MAX_CHARS"


PIECES = st.sampled_from(
    [
        "anna@example.com", "4111 1111 1111 1111", "4111111111111111", "+49 30 901820", "030/901820", "Tel.", "SSN ",
        "card ", "123-45-6789", "123456789", "DE89370400440532013000", "Anna Müller", "[email 1]", "[phone 12]",
        "\u200b", "%40", "@", "1", "12", "4111", "0", ".", "-", " ", "\n", "a", "(", "order ", "x.com", "\ud800", "\0",
    ]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(), st.lists(PIECES, max_size=14).map("".join), st.lists(PIECES, max_size=10).map(" ".join)
)


@given(TEXTS)
def test_nothing_is_found_in_redacted_text(text: str) -> None:
    redacted, _ = ALL.redact(text)
    assert ALL.find(redacted) == ()


@given(TEXTS)
@example("[email 1] anna@example.com [email 2]")
def test_restoring_is_the_inverse_of_redacting(text: str) -> None:
    redaction = Redaction()
    redacted, _ = ALL.redact(text, into=redaction)
    assert redaction.restore(redacted) == text


@given(TEXTS)
def test_finds_are_ordered_within_the_text_and_apart(text: str) -> None:
    at = 0
    for found in ALL.find(text):
        assert at <= found.start < found.end <= len(text)
        at = found.end


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=8,
)


@given(VALUES)
@settings(max_examples=40)
def test_any_value_can_be_redacted_and_restored(value: object) -> None:
    redaction = Redaction()
    redacted, _ = ALL.redact_value(value, into=redaction)
    assert redaction.restore_value(redacted) == value


@pytest.mark.parametrize("seed", SLOW_SEEDS)
def test_work_grows_with_the_text_and_not_faster(seed: str) -> None:
    size = 1_000 // len(seed)
    ALL.find(seed)
    once, twice = calls(lambda: ALL.find(seed * size)), calls(lambda: ALL.find(seed * size * 2))
    assert twice <= 2.2 * once + 200
