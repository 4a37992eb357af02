"""What a device has told is recognised when it comes back, with the labels that it was told with."""

from collections.abc import Sequence

from edge.echoes import ECHOES_MAX, Echoes


async def test_what_was_told_keeps_its_labels_however_it_is_spaced() -> None:
    echoes = Echoes()
    echoes.told("At noon.\nBring the card.", ("patient",))
    assert await echoes.labels_of(" At noon. Bring  the card.\n") == ("patient",)
    assert await echoes.labels_of("At noon. Bring the cards.") == ("untrusted",)


async def test_the_same_words_told_twice_bear_the_labels_of_both() -> None:
    echoes = Echoes()
    for labels in ((), ("patient",), ("internal",)):
        echoes.told("Yes.", labels)
    assert await echoes.labels_of("Yes.") == ("internal", "patient")


async def test_the_latest_answers_are_known_and_the_one_before_them_is_not() -> None:
    echoes = Echoes()
    for number in range(ECHOES_MAX + 1):
        echoes.told(f"Answer {number}.", ())
    assert await echoes.labels_of("Answer 1.") == ()
    assert await echoes.labels_of("Answer 0.") == ("untrusted",)


async def test_what_is_not_known_any_more_is_looked_for_among_what_is_remembered() -> None:
    async def remembered() -> Sequence[tuple[str, Sequence[str]]]:
        return [("At noon.", ("patient",)), ("At one.", ()), ("At noon.", ("internal",))]

    echoes = Echoes(remembered)
    assert await echoes.labels_of("At noon.") == ("internal", "patient")
    assert await echoes.labels_of("At one.") == ()
    assert await echoes.labels_of("At two.") == ("untrusted",)
