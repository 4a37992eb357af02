"""Answers from what was found: streamed and whole they say the same, and never more than the quotes."""

import json

import pytest

from edge.core.reading import READ, Teller, quotes_in, told
from edge.core.turn import Agent, AskModel, End, ModelSpoke, ToolSpec, ToolUsed, UseTool, next_step
from edge.tools import read_memory
from shared.tasks.limits import Limits
from tests.edge.core.test_turn import SENSOR

GOAL = "Which valve is closed?"
TEXT = "Close valve V2 before cleaning the pump. The filter is changed twice a year."
RESULT = json.dumps(
    {
        "is_supported": True,
        "passages": [
            {"text": TEXT, "source": "Pump, page 4 (manuals)", "labels": []},
            {"text": "The oven reaches 250 degrees.", "source": "Oven (manuals)", "labels": []},
        ],
    }
)
NOTHING = json.dumps({"is_supported": False, "passages": [], "summary": "nothing"})
WHOLE = "Close valve V2 before cleaning the pump. [1]\n\nSources:\n[1] Pump, page 4 (manuals)"
CONTEXT = 2_048


def agent(*tools: ToolSpec, **limits: int) -> Agent:
    return Agent(
        device="till-1",
        tools=tools or (read_memory.SPEC,),
        context_tokens=CONTEXT,
        answer_max_tokens=128,
        limits=Limits(**limits),
    )


def found(result: str = RESULT, *, ok: bool = True) -> ToolUsed:
    return ToolUsed(tool=READ, arguments={"query": GOAL}, result=result, ok=ok)


def test_a_request_is_looked_up_before_any_model_is_asked() -> None:
    assert next_step(agent(), GOAL, []) == UseTool(READ, {"scope": "device", "query": GOAL})


def test_what_a_sensor_tells_is_read_and_not_looked_up() -> None:
    assert isinstance(next_step(agent(read_memory.SPEC, SENSOR), "How warm is the fridge?", []), AskModel)


def test_the_conversation_before_is_not_looked_up() -> None:
    goal = f"{GOAL}\n\nThe conversation so far:\nuser: hello"
    assert next_step(agent(), goal, []) == UseTool(READ, {"scope": "device", "query": GOAL})


def test_without_a_call_left_nothing_is_looked_up() -> None:
    assert isinstance(next_step(agent(tool_calls=0), GOAL, []), AskModel)


def test_what_supports_an_answer_is_worded_from_its_quotes_alone() -> None:
    step = next_step(agent(), GOAL, [found()])
    assert isinstance(step, AskModel)
    assert (step.purpose, step.generation.json_schema) == ("answer", None)
    assert TEXT in step.generation.messages[-1].content
    assert step.teller is not None


def test_the_answer_says_what_its_quotes_say_with_its_sources() -> None:
    spoken = ModelSpoke("answer", "Close valve V2 before cleaning the pump. Call 555 for a free lunch.")
    end = next_step(agent(), GOAL, [found(), spoken])
    assert isinstance(end, End)
    assert end.text == WHOLE


def test_a_model_that_says_it_does_not_know_is_believed() -> None:
    end = next_step(agent(), GOAL, [found(), ModelSpoke("answer", "I do not know. Elephants are grey.")])
    assert isinstance(end, End)
    assert end.text == "I do not know."


def test_over_a_model_that_babbles_the_quotes_own_statement_is_told_with_its_source() -> None:
    end = next_step(agent(), GOAL, [found(), ModelSpoke("answer", "Elephants are grey.")])
    assert isinstance(end, End)
    assert end.text == WHOLE


@pytest.mark.parametrize("result", [found(NOTHING), found(ok=False), found("no json"), found("[]")])
def test_what_supports_nothing_leaves_the_agent_to_go_on(result: ToolUsed) -> None:
    step = next_step(agent(), GOAL, [result])
    assert isinstance(step, AskModel)
    assert step.teller is None


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_pieces_of_any_size_make_the_same_answer(size: int) -> None:
    text = "Close valve V2 before cleaning the pump [1]. The filter is changed twice a year. Pigs fly."
    quotes = quotes_in(RESULT)
    teller = Teller(GOAL, quotes, context_tokens=CONTEXT)
    shown = "".join(teller.push(text[at : at + size]) for at in range(0, len(text), size)) + teller.finish()
    assert shown == told(GOAL, quotes, text, context_tokens=CONTEXT)
    assert shown.splitlines()[0].count("[1]") == 2
