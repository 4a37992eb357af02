"""What a reader sees as one character is never torn apart."""

import pytest

from shared.retrieval.graphemes import CLUSTER_MAX_CHARS, cut_before, may_cut


@pytest.mark.parametrize(
    "cluster",
    [
        "e\u0301",
        "\r\n",
        "👍🏽",
        "👨‍👩‍👧",
        "🇫🇷",
        "❤\ufe0f",
        "\u1112\u1161\u11ab",
        "नि",
        "ที่",
        "🏴\U000e0067\U000e007f",
    ],
)
def test_no_cut_within(cluster: str) -> None:
    text = f"a{cluster}b"
    assert [at for at in range(len(text) + 1) if may_cut(text, at)] == [0, 1, len(text) - 1, len(text)]


def test_flags_are_pairs() -> None:
    text = "🇫🇷🇩🇪🇮🇹"
    assert [at for at in range(len(text) + 1) if may_cut(text, at)] == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("marks", "cut"), [(CLUSTER_MAX_CHARS - 1, 1), (CLUSTER_MAX_CHARS, CLUSTER_MAX_CHARS + 1)]
)
def test_the_way_back_to_a_cut_is_bounded(marks: int, cut: int) -> None:
    text = "ab" + "\u0301" * (marks + 5)
    assert cut_before(text, 0, marks + 1) == cut
