"""An answer out of what was found: the model's where quotes support it, else the quotes' own, with where it stands."""

from shared.knowledge.answer import REPEATED_MAX, SYSTEM
from shared.library.answering import BY_QUOTES, Answered, answered
from shared.library.corpus import Item
from shared.library.library import Findings, Passage
from shared.retrieval.abstention import SUPPORT_MIN
from tests.support.device import bytes_from
from tests.support.model import ScriptedModel

QUESTION = "Which valve is closed before cleaning the pump?"
TEXT = "The filter is changed twice a year. Close valve V2 before cleaning the pump."


def found(*, support: float = SUPPORT_MIN) -> Findings:
    item = Item(
        key=bytes_from("key", 32), content=bytes_from("content", 32), model=b"", headings=("Pump",),
        text=TEXT, vector=b"", document="pump.md", title="Pump", start=0, end=len(TEXT), page=0,
    )  # fmt: skip
    passage = Passage(
        collection="main/manuals", number=1, root=bytes_from("root", 32), labels=(), item=item, score=1.0, keyword=1.0,
        cosine=0.8,
    )  # fmt: skip
    return Findings(passages=(passage,), support=support, ranked_by="fused")


async def end_of(model: ScriptedModel | None, findings: Findings) -> Answered:
    items = [item async for item in answered(QUESTION, findings, model)]
    end = items[-1]
    assert isinstance(end, Answered)
    assert items[:-1] == list(end.answer.sentences)
    return end


async def test_a_models_words_that_a_quote_supports_are_the_answer() -> None:
    model = ScriptedModel("Valve V2 must be closed. [1]")
    end = await end_of(model, found())
    assert (end.answer.text, end.by, len(end.cited)) == ("Valve V2 must be closed. [1]", "scripted", 1)
    assert end.cited[0].citation.line.startswith("Pump (manuals, revision ")
    assert model.seen[0].messages[0].content == SYSTEM


async def test_over_a_model_that_babbles_the_best_statement_is_told_as_the_quotes_own() -> None:
    end = await end_of(ScriptedModel("Elephants are grey."), found())
    assert (end.answer.text, end.by) == ("Close valve V2 before cleaning the pump. [1]", BY_QUOTES)
    assert end.answer.dropped == 1


async def test_what_is_not_sound_is_not_quoted_over_a_model_that_babbles() -> None:
    end = await end_of(ScriptedModel("Elephants are grey."), found(support=SUPPORT_MIN - 0.1))
    assert (end.answer.is_known, end.cited, end.by) == (False, (), "scripted")


async def test_without_a_model_the_statement_itself_is_the_answer() -> None:
    end = await end_of(None, found())
    assert (end.answer.text, end.by) == ("Close valve V2 before cleaning the pump. [1]", BY_QUOTES)


async def test_a_model_that_goes_round_in_circles_is_stopped() -> None:
    model = ScriptedModel("Valve V2 must be closed.\n" * (REPEATED_MAX + 20))
    end = await end_of(model, found())
    assert (end.answer.text, model.cancelled) == ("Valve V2 must be closed. [1]", 1)
