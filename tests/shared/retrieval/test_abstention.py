"""Nothing is better than a wrong passage."""

import pytest

from shared.retrieval.abstention import NO_SUPPORT, support


@pytest.mark.parametrize(
    ("coverage", "lead", "best_cosine", "is_sound"),
    [
        (0.65, 0.19, 0.63, True),  # the medians of questions with an answer
        (0.14, 0.03, 0.25, False),  # and of questions for another collection
        (0.0, 0.2, 0.6, True),  # in other words
        (1.0, 0.3, 0.2, True),  # a part number, which the model does not know
        (0.65, 0.2, None, True),
        (0.14, 0.03, None, False),
        (0.0, 0.0, -0.5, False),
    ],
)
def test_what_was_found_supports_an_answer_or_not(
    coverage: float, lead: float, best_cosine: float | None, is_sound: bool
) -> None:
    assert support(coverage=coverage, lead=lead, best_cosine=best_cosine).is_sound is is_sound


def test_nothing_supports_nothing() -> None:
    assert not NO_SUPPORT.is_sound
