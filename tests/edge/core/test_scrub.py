"""Secrets are found in every form, wherever they lie, and nothing else is touched."""

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge.core.scrub import Scrubber, forms_of

SECRET = 'pa"ss\\wörd/+ &42'
SCRUBBER = Scrubber({"POS_TOKEN": SECRET})
COVER = "[secret POS_TOKEN]"

values = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=8, max_size=60).filter(
    lambda value: len(set(value)) >= 4
)
surroundings = st.text(st.characters(codec="utf-8"), max_size=30)


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        json.dumps(json.dumps(SECRET)),
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        quote(SECRET, safe="").lower(),
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
        repr(SECRET),
        repr(SECRET.encode()),
    ],
)
def test_a_secret_is_covered_in_every_form(form: str) -> None:
    covered = SCRUBBER.text(f"before {form} after")
    assert COVER in covered
    assert not [part for part in forms_of(SECRET) if part.decode() in covered]
    assert covered.startswith("before ")
    assert covered.endswith(" after")


MARKUP = """<a b="c">&'d'</a>\u2028"""


@pytest.mark.parametrize(
    "form",
    [
        html.escape(MARKUP),
        html.escape(MARKUP, quote=False),
        "&lt;a b=&#34;c&#34;&gt;&amp;&#39;d&#39;&lt;/a&gt;\u2028",
        r"""\u003ca b=\"c\"\u003e\u0026'd'\u003c/a\u003e\u2028""",
        json.dumps(r"""\u003ca b=\"c\"\u003e\u0026'd'\u003c/a\u003e\u2028"""),
    ],
    ids=["html", "html-without-quotes", "html-of-go", "json-of-go", "json-of-go-in-json"],
)
def test_a_secret_with_markup_is_covered_escaped_for_pages_and_by_go(form: str) -> None:
    stream = Scrubber({"A": MARKUP}).stream()
    assert Scrubber({"A": MARKUP}).text(f"x {form} y").replace('"', "") == "x [secret A] y"
    assert (stream.feed(f"x {form[:7]}") + stream.feed(form[7:]) + stream.finish()).count("[secret A]") == 1


@pytest.mark.parametrize("user", ["", "a", "ab", "abc", "alice"])
def test_a_secret_within_what_was_encoded_in_base64_is_covered(user: str) -> None:
    header = base64.b64encode(f"{user}:{SECRET}:more".encode()).decode()
    covered = SCRUBBER.text(f"Authorization: Basic {header}")
    assert COVER in covered
    assert len(covered) < len(f"Authorization: Basic {header}") + len(COVER)


@given(values, surroundings, surroundings)
@pytest.mark.slow
def test_a_secret_is_found_wherever_it_begins(value: str, before: str, after: str) -> None:
    scrubber = Scrubber({"A": value})
    for form in sorted(forms_of(value)):
        covered = scrubber.data(before.encode() + form + after.encode())
        assert form not in covered.replace(b"[secret A]", b"\x00")


@given(values, st.lists(st.integers(1, 9), max_size=40), surroundings, surroundings)
@example(value="12345678", cuts=[3, 3, 3], before="1", after="")
@pytest.mark.slow
def test_a_secret_in_pieces_is_covered_as_in_one(
    value: str, cuts: list[int], before: str, after: str
) -> None:
    scrubber = Scrubber({"A": value})
    text = before + value + after
    stream = scrubber.stream()
    shown: list[str] = []
    at = 0
    for cut in cuts:
        shown.append(stream.feed(text[at : at + cut]))
        at += cut
    shown += [stream.feed(text[at:]), stream.finish()]
    assert value not in "".join(shown).replace("[secret A]", "\x00")


@given(surroundings, surroundings)
def test_text_without_a_secret_comes_through_as_it_is(one: str, other: str) -> None:
    scrubber = Scrubber({"A": "Zq7!vK2#pW9$mL4%"})
    stream = scrubber.stream()
    assert scrubber.text(one) is one
    assert stream.feed(one) + stream.feed(other) + stream.finish() == one + other


def test_a_stream_holds_back_no_more_than_the_beginning_of_a_secret() -> None:
    stream = Scrubber({"A": "hunter2-hunter2"}).stream()
    assert stream.feed("the password is hunt") == "the password is "
    assert stream.feed("ing") == "hunting"
    assert stream.feed(" hunter2-") == " "
    assert stream.feed("hunter2.") == "[secret A]."
    assert stream.finish() == ""


def test_a_result_stays_json_of_the_same_shape() -> None:
    scrubber = Scrubber({"PIN": "12345678", "TOKEN": SECRET})
    result = {
        "summary": f"The token is {SECRET}.",
        SECRET: 1,
        "pin": 12345678,
        "list": [None, True, {"deep": f"{SECRET}12345678"}],
        "other": 4.5,
    }
    assert scrubber.value(result) == {
        "summary": "The token is [secret TOKEN].",
        "[secret TOKEN]": 1,
        "pin": "[secret PIN]",
        "list": [None, True, {"deep": "[secret TOKEN][secret PIN]"}],
        "other": 4.5,
    }
    clean: dict[str, object] = {"summary": "nothing", "value": 4}
    assert scrubber.value(clean) is clean


def test_lines_of_a_private_key_are_covered_one_by_one() -> None:
    line = "MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwN"
    pem = f"-----BEGIN PRIVATE KEY-----\n{line}\nDg8QERITFBUWFxgZGhscHR4f\n-----END PRIVATE KEY-----\n"
    scrubber = Scrubber({"KEY": pem})
    assert scrubber.text(f"one line: {line}") == "one line: [secret KEY]"
    assert scrubber.text("-----BEGIN PRIVATE KEY-----") == "-----BEGIN PRIVATE KEY-----"
    assert scrubber.text(json.dumps({"pem": pem})) == '{"pem": "[secret KEY]"}'


def test_two_secrets_that_overlap_are_both_covered() -> None:
    scrubber = Scrubber({"A": "abcdefghij", "B": "ghijklmnop"})
    assert scrubber.text("xabcdefghijklmnopx") == "x[secret A]x"


def test_no_secrets_cost_nothing_and_change_nothing() -> None:
    nothing = Scrubber({})
    text = "any text"
    assert not nothing
    assert nothing.text(text) is text
    assert nothing.stream().feed(text) is text


def test_a_value_too_short_to_be_told_from_other_text_is_a_programming_error() -> None:
    with pytest.raises(ValueError, match="at least"):
        Scrubber({"A": "abc"})
