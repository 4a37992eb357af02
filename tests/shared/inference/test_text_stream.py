"""What a person sees while tokens arrive: whole characters and nothing of a stop string."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.inference.text_stream import TextStream


def shown(pieces: list[bytes], stop: tuple[str, ...] = ()) -> list[str]:
    stream = TextStream(stop)
    return [*(stream.feed(piece) for piece in pieces), stream.finish()]


def test_character_split_over_tokens_is_shown_whole() -> None:
    euro = "€".encode()
    assert shown([b"5 ", euro[:1], euro[1:2], euro[2:], b"!"]) == ["5 ", "", "", "€", "!", ""]


def test_half_a_character_at_the_end_is_dropped() -> None:
    assert "".join(shown([b"ok", "ß".encode()[:1]])) == "ok"


def test_bytes_that_are_no_character_are_replaced() -> None:
    assert "".join(shown([b"a\xff", b"b"])) == "a\ufffdb"


def test_stop_string_over_three_tokens_is_not_shown_even_in_part() -> None:
    assert shown([b"one EN", b"D", b"E two"], stop=("ENDE",)) == ["one ", "", "", ""]


def test_text_that_only_began_like_a_stop_string_is_shown_in_the_end() -> None:
    assert "".join(shown([b"a EN", b"Dx EN"], stop=("ENDE",))) == "a ENDx EN"


def test_earliest_of_several_stop_strings_wins() -> None:
    stream = TextStream(("three", "two"))
    assert stream.feed(b"one two three") == "one "
    assert stream.stopped
    assert stream.feed(b" four") == ""


@given(st.text(), st.lists(st.text(min_size=1, max_size=4), max_size=3), st.data())
@pytest.mark.slow
def test_how_text_is_cut_into_tokens_changes_nothing(text: str, stop: list[str], data: st.DataObject) -> None:
    raw = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace").encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    whole = raw.decode()
    first = min((at for at in (whole.find(s) for s in stop) if at >= 0), default=None)
    # A stop string that ends earlier may hide one that began before it; what is shown is free of both ways.
    result = "".join(shown(pieces, tuple(stop)))
    assert whole.startswith(result)
    assert not any(s in result for s in stop)
    if first is None:
        assert result == whole
