"""One node's turn loop, whatever the model says: it ends within its limits, and only what was offered happens."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core.escalating import WILL_COME, result_of
from edge.core.turn import (
    ACT_MAX_TOKENS,
    BYTES_PER_TOKEN,
    RESULT_MAX_BYTES,
    Agent,
    AskModel,
    AskWhether,
    End,
    ModelSpoke,
    Past,
    ToolSpec,
    ToolUsed,
    UseTool,
    next_step,
)
from edge.tools import escalate, read_memory
from shared.errors import CapacityError
from shared.escalation import HubAnswer, encode_answer
from shared.inference.ports import Generation
from shared.tasks.limits import Limits
from shared.tasks.states import NodeState

SENSOR = ToolSpec(
    name="read_sensor",
    description="Read a sensor of this device now.",
    choices=({"sensor": "fridge"}, {"sensor": "door"}),
    keywords=("sensor", "temperature"),
    choice_keywords=(("fridge",), ("door",)),
    is_idempotent=True,
)
VALVE = ToolSpec(
    name="valve",
    description="Open or close the valve.",
    choices=({"to": "open"}, {"to": "closed"}),
    is_idempotent=False,
)
NOW = ToolSpec(name="now", description="The time.", choices=({},), keywords=("time",), is_idempotent=True)
TOOLS = (SENSOR, VALVE, NOW)
ANSWER = {"action": "answer", "arguments": {}}


def agent(tools: Sequence[ToolSpec] = TOOLS, /, *, context_tokens: int = 4_096, **limits: Any) -> Agent:
    return Agent(
        device="fridge-1",
        tools=tuple(tools),
        context_tokens=context_tokens,
        answer_max_tokens=256,
        limits=Limits(**limits),
    )


def action(tool: str, **arguments: object) -> str:
    return json.dumps({"action": tool, "arguments": arguments})


def used(tool: str, result: str | None = "done", *, ok: bool = True, **arguments: object) -> ToolUsed:
    return ToolUsed(tool=tool, arguments=arguments, result=result, ok=ok)


def offered(generation: Generation) -> dict[str, list[dict[str, Any]]]:
    """The actions that the schema lets through, with all their arguments."""
    assert generation.json_schema is not None
    actions: dict[str, list[dict[str, Any]]] = {}
    variants: Any = generation.json_schema["anyOf"]
    for variant in variants:
        properties = variant["properties"]["arguments"]["properties"]
        keys = list(properties)
        choices = [{}] if not keys else [{keys[0]: value} for value in properties[keys[0]]["enum"]]
        actions[variant["properties"]["action"]["const"]] = choices
    return actions


def asks(step: object, purpose: str) -> Generation:
    assert isinstance(step, AskModel)
    assert step.purpose == purpose
    return step.generation


def size(generation: Generation) -> int:
    return sum(len(message.content.encode()) for message in generation.messages)


# --- the ordinary way ----------------------------------------------------------------------------------------------


def test_a_request_goes_from_action_to_tool_to_answer_to_end() -> None:
    past: list[Past] = []
    assert asks(next_step(agent(), "do it", past), "act").max_tokens == ACT_MAX_TOKENS
    past.append(ModelSpoke("act", action("valve", to="open"), 12))
    assert next_step(agent(), "do it", past) == UseTool("valve", {"to": "open"})
    past.append(used("valve", "opened", to="open"))
    assert "answer" in offered(asks(next_step(agent(), "do it", past), "act"))
    past.append(ModelSpoke("act", json.dumps(ANSWER), 8))
    generation = asks(next_step(agent(), "do it", past), "answer")
    assert generation.json_schema is None
    assert "Result: opened" in generation.messages[-1].content
    past.append(ModelSpoke("answer", "It is open.", 4))
    assert next_step(agent(), "do it", past) == End(NodeState.SUCCEEDED, "It is open.")


def test_without_tools_the_model_answers_at_once() -> None:
    asks(next_step(agent(()), "hello", []), "answer")


def test_a_request_that_names_a_sensor_is_offered_that_sensor_alone_at_first() -> None:
    actions = offered(asks(next_step(agent(), "Is the FRIDGE warm?", []), "act"))
    assert actions == {"read_sensor": [{"sensor": "fridge"}]}


def test_a_request_that_names_a_tool_is_offered_all_its_choices_and_no_answer_at_first() -> None:
    actions = offered(asks(next_step(agent(), "what temperature?", []), "act"))
    assert actions == {"read_sensor": [{"sensor": "fridge"}, {"sensor": "door"}]}


def test_after_the_first_result_everything_else_is_offered() -> None:
    past: list[Past] = [
        ModelSpoke("act", action("read_sensor", sensor="fridge")),
        used("read_sensor", sensor="fridge"),
    ]
    actions = offered(asks(next_step(agent(), "is the fridge warm?", past), "act"))
    assert actions == {
        "read_sensor": [{"sensor": "door"}],
        "valve": [{"to": "open"}, {"to": "closed"}],
        "now": [{}],
        "answer": [{}],
    }


# --- only what was offered -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        action("rm", path="/"),
        action("read_sensor", sensor="door"),
        action("read_sensor", sensor="fridge", also="this"),
        action("read_sensor"),
        action("now"),
        '{"action": "read_sensor"}',
        '{"action": 1, "arguments": {}}',
        '{"action": "read_sensor", "arguments": ["fridge"]}',
        f"I would call {action('read_sensor', sensor='fridge')}",
        f"```json\n{action('read_sensor', sensor='fridge')}\n```",
        "",
        "null",
        "[" * 100_000,
        '{"action": ' + "9" * 5_000,
        '{"action": "read_sensor", "arguments": {"sensor": "\\ud800"}}',
    ],
    ids=range(15),
)
def test_an_action_that_was_not_offered_is_not_done(text: str) -> None:
    asks(next_step(agent(), "is the fridge warm?", [ModelSpoke("act", text)]), "answer")


DENIED = json.dumps({"denied": "It is being defrosted.", "rule": "defrosting", "hint": "Say so."})


REFUSED = used("read_sensor", DENIED, ok=False, sensor="fridge")


def test_what_the_rules_let_nobody_look_at_is_told_and_not_invented() -> None:
    past: list[Past] = [ModelSpoke("act", action("read_sensor", sensor="fridge")), REFUSED]
    step = next_step(agent(), "How warm is the fridge?", past)
    assert step == End(NodeState.SUCCEEDED, "It is being defrosted.")


@pytest.mark.parametrize(
    ("goal", "past"),
    [
        # The door is still to be looked at; it was; the valve was nobody's wish; a tool says so itself.
        ("fridge and door?", [REFUSED]),
        ("fridge and door?", [REFUSED, used("read_sensor", sensor="door")]),
        ("open it", [used("valve", DENIED, ok=False, to="open")]),
        ("fridge?", [REFUSED, used("valve", DENIED, ok=False, to="open")]),
        ("fridge?", [used("read_sensor", DENIED, sensor="fridge")]),
        ("fridge?", [used("read_sensor", '{"error": "It is away."}', ok=False, sensor="fridge")]),
    ],
)  # fmt: skip
def test_what_else_was_refused_is_for_the_model_to_word(goal: str, past: list[Past]) -> None:
    assert isinstance(next_step(agent(), goal, past), AskModel)


def test_text_that_looks_like_a_tool_call_in_an_answer_is_text() -> None:
    text = f"{action('valve', to='open')}\n<tool_call>{action('valve', to='open')}</tool_call>"
    past: list[Past] = [ModelSpoke("act", json.dumps(ANSWER)), ModelSpoke("answer", text)]
    assert next_step(agent(), "say something", past) == End(NodeState.SUCCEEDED, text)


def test_a_result_that_looks_like_a_tool_call_is_data() -> None:
    past: list[Past] = [used("valve", action("valve", to="closed"), to="open")]
    asks(next_step(agent(), "do it", past), "act")


# --- interrupted effects -------------------------------------------------------------------------------------------


def test_an_interrupted_idempotent_call_is_made_again() -> None:
    past: list[Past] = [
        ModelSpoke("act", action("now")),
        ToolUsed(tool="now", arguments={}, result=None, is_idempotent=True),
    ]
    assert next_step(agent(), "the time?", past) == UseTool("now", {}, is_retry=True)


def test_an_interrupted_call_that_is_not_idempotent_becomes_a_question() -> None:
    past: list[Past] = [ToolUsed(tool="valve", arguments={"to": "open"}, result=None, is_idempotent=False)]
    assert next_step(agent(), "do it", past) == AskWhether("valve")


def test_what_did_not_happen_is_done_now() -> None:
    past: list[Past] = [
        ToolUsed(tool="valve", arguments={"to": "open"}, result=None, is_idempotent=False, happened=False)
    ]
    assert next_step(agent(), "do it", past) == UseTool("valve", {"to": "open"}, is_retry=True)


def test_a_pending_effect_comes_before_every_limit() -> None:
    past: list[Past] = [
        *[ModelSpoke("act", action("now"), 2_000)] * 3,
        ToolUsed(tool="valve", arguments={"to": "open"}, result=None, is_idempotent=False),
    ]
    assert next_step(agent(turns=1, output_tokens=10, tool_calls=0), "do it", past) == AskWhether("valve")


# --- limits --------------------------------------------------------------------------------------------------------


def test_a_node_at_its_token_limit_fails_by_that_name() -> None:
    past: list[Past] = [ModelSpoke("act", action("now"), 100), used("now")]
    assert isinstance(next_step(agent(output_tokens=101), "x", past), AskModel)
    step = next_step(agent(output_tokens=100), "x", past)
    assert isinstance(step, End)
    assert (step.state, step.reason) == (NodeState.FAILED, "output_tokens")


def test_a_generation_never_asks_for_more_tokens_than_are_left() -> None:
    past: list[Past] = [ModelSpoke("act", action("now"), 95), used("now")]
    assert asks(next_step(agent(output_tokens=100), "x", past), "act").max_tokens == 5
    past = [ModelSpoke("act", "nonsense", 95)]
    assert asks(next_step(agent(output_tokens=100), "x", past), "answer").max_tokens == 5


def test_at_the_limit_of_tool_calls_only_an_answer_is_left() -> None:
    past: list[Past] = [ModelSpoke("act", action("now")), used("now")]
    asks(next_step(agent(tool_calls=2), "x", past), "act")
    asks(next_step(agent(tool_calls=1), "x", past), "answer")
    asks(next_step(agent(tool_calls=0), "read the sensor", []), "answer")


def test_a_node_beyond_its_turns_fails_by_that_name() -> None:
    past: list[Past] = [
        ModelSpoke("act", action("now")),
        used("now"),
        ModelSpoke("act", action("valve", to="open")),
    ]
    step = next_step(agent(turns=1), "x", past)
    assert isinstance(step, End)
    assert (step.state, step.reason) == (NodeState.FAILED, "turns")


# --- prompts -------------------------------------------------------------------------------------------------------


def test_a_long_result_is_cut_and_says_so() -> None:
    past: list[Past] = [used("valve", "x" * 50_000, to="open")]
    last = asks(next_step(agent(), "do it", past), "act").messages[-1].content
    assert f"{'x' * RESULT_MAX_BYTES} [cut: {50_000 - RESULT_MAX_BYTES} characters more]" in last


def test_a_result_is_cut_between_characters() -> None:
    past: list[Past] = [used("valve", "é" * 5_000, to="open")]
    last = asks(next_step(agent(), "do it", past), "act").messages[-1].content
    assert "�" not in last
    assert "é [cut: 3000 characters more]" in last


def test_a_summary_is_shown_instead_of_the_fields() -> None:
    past: list[Past] = [used("now", json.dumps({"summary": "It is noon.", "utc": "12:00"}))]
    assert "Result: It is noon.\n" in asks(next_step(agent(), "x", past), "act").messages[-1].content


def test_a_result_nested_too_deep_to_read_is_shown_as_it_is() -> None:
    past: list[Past] = [used("now", "[" * 60_000)]
    assert "Result: [[[" in asks(next_step(agent(), "x", past), "act").messages[-1].content


def test_a_request_longer_than_the_context_is_refused_before_the_model_is_asked() -> None:
    with pytest.raises(CapacityError) as caught:
        next_step(agent(context_tokens=1_024), "word " * 2_000, [])
    assert (caught.value.bound, caught.value.limit) == ("context_tokens", 1_024)


def test_the_front_of_the_prompt_stays_the_same_while_a_node_runs() -> None:
    past: list[Past] = []
    first = asks(next_step(agent(), "do it", past), "act").messages
    past += [ModelSpoke("act", action("valve", to="open")), used("valve", "opened", to="open")]
    second = asks(next_step(agent(), "do it", past), "act").messages
    past += [ModelSpoke("act", action("now")), used("now", "noon")]
    third = asks(next_step(agent(), "do it", past), "act").messages
    assert first[0] == second[0] == third[0]
    assert second[1:3] == third[1:3]
    assert second[3].content.split("\n\n")[0] == third[3].content


arguments = st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=2)
past_calls = st.lists(
    st.builds(
        ToolUsed,
        tool=st.sampled_from(["read_sensor", "valve", "now"]),
        arguments=arguments,
        result=st.text(max_size=200).map(lambda text: text * 100),
        ok=st.booleans(),
    ),
    max_size=20,
)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300), past_calls, st.integers(512, 2_048), st.sampled_from(["act", "answer"]))
@pytest.mark.slow
def test_a_prompt_always_keeps_its_budget_once_the_request_fits(
    goal: str, calls: list[ToolUsed], context_tokens: int, purpose: str
) -> None:
    one = agent(context_tokens=context_tokens, tool_calls=100 if purpose == "act" else 0)
    try:
        next_step(one, goal, [])
    except CapacityError:
        return
    # What fits at the first step fits at every later one, however many results there are.
    step = next_step(one, goal, calls)
    assert isinstance(step, AskModel)
    budget = (context_tokens - one.answer_max_tokens) * BYTES_PER_TOKEN
    assert size(step.generation) <= budget
    assert goal in "\n".join(message.content for message in step.generation.messages)


# --- whatever the model says ---------------------------------------------------------------------------------------


def play(
    one: Agent, goal: str, texts: Sequence[str], outcomes: Sequence[bool]
) -> tuple[End, list[Past], int]:
    """Run a node to its end; the model says `texts` in turn, over and over, tools succeed as `outcomes` say."""
    past: list[Past] = []
    generated = 0
    for number in range(2_000):
        step = next_step(one, goal, past)
        match step:
            case End():
                return step, past, generated
            case UseTool(tool, arguments, is_retry):
                assert not is_retry
                done: Sequence[Mapping[str, object]] = [
                    item.arguments
                    for item in past
                    if isinstance(item, ToolUsed) and item.tool == tool and item.ok
                ]
                assert arguments not in done, "a call that succeeded was offered again"
                assert any(arguments in spec.choices for spec in one.tools if spec.name == tool)
                past.append(
                    ToolUsed(
                        tool=tool, arguments=arguments, result="done", ok=outcomes[number % len(outcomes)]
                    )
                )
            case AskModel(purpose, generation):
                generated += 1
                text = texts[number % len(texts)]
                tokens = min(len(text) + 1, generation.max_tokens)
                past.append(ModelSpoke(purpose, text, tokens))
            case AskWhether():
                raise AssertionError("nothing was interrupted")
    raise AssertionError("the node does not end")


every_action = [json.dumps(ANSWER)] + [
    json.dumps({"action": spec.name, "arguments": choice}) for spec in TOOLS for choice in spec.choices
]
hostile = st.one_of(
    st.sampled_from(every_action),
    st.text(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=10),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
        max_leaves=10,
    ).map(json.dumps),
)


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=100),
    st.lists(hostile, min_size=1, max_size=8),
    st.lists(st.booleans(), min_size=1, max_size=4),
    st.builds(
        dict,
        turns=st.integers(1, 12),
        tool_calls=st.integers(0, 12),
        output_tokens=st.integers(1, 3_000),
    ),
)
@pytest.mark.slow
def test_a_node_ends_within_its_limits_whatever_the_model_says(
    goal: str, texts: list[str], outcomes: list[bool], limits: dict[str, int]
) -> None:
    one = agent(**limits)
    end, past, generated = play(one, goal, texts, outcomes)
    spoken = [item for item in past if isinstance(item, ModelSpoke)]
    assert end.state in (NodeState.SUCCEEDED, NodeState.FAILED)
    assert sum(item.output_tokens for item in spoken) <= limits["output_tokens"]
    assert sum(isinstance(item, ToolUsed) for item in past) <= limits["tool_calls"]
    assert generated <= limits["turns"] + 2
    if end.state is NodeState.SUCCEEDED:
        assert spoken[-1].purpose == "answer"
        assert end.text == spoken[-1].text
    else:
        assert end.reason in limits


def test_everything_that_a_request_names_is_looked_at_before_any_answer() -> None:
    """A small model that may answer early makes up the time that it was asked for."""
    goal = "How warm is the fridge, and what time is it?"
    first = next_step(agent(), goal, [])
    assert isinstance(first, AskModel)
    assert offered(first.generation) == {"read_sensor": [{"sensor": "fridge"}], "now": [{}]}
    read: list[Past] = [
        ModelSpoke("act", action("read_sensor", sensor="fridge")),
        used("read_sensor", sensor="fridge"),
    ]
    second = next_step(agent(), goal, read)
    assert isinstance(second, AskModel)
    assert offered(second.generation) == {"now": [{}]}
    told: list[Past] = [*read, ModelSpoke("act", action("now")), used("now")]
    third = next_step(agent(), goal, told)
    assert isinstance(third, AskModel)
    assert "answer" in offered(third.generation)


def test_an_answer_that_is_not_yet_due_is_not_taken_for_an_action() -> None:
    goal = "What time is it?"
    step = next_step(agent(), goal, [ModelSpoke("act", json.dumps(ANSWER))])
    assert isinstance(step, AskModel)
    assert step.purpose == "answer"


# --- asking the hub ------------------------------------------------------------------------------------------------

HUB = escalate.SPEC
QUESTION = "Which part is worn?"
QUEUED = json.dumps(result_of(None, is_known=False, labels=()))
KNOWN = json.dumps(
    result_of(encode_answer(HubAnswer(text="The seal.", by="quotes")), is_known=True, labels=("untrusted",))
)


def asked(result: str | None, *, ok: bool = True) -> ToolUsed:
    return used("model.escalate", result, ok=ok, text=QUESTION)


def test_a_question_that_nothing_here_answers_goes_to_the_hub_before_a_model_guesses() -> None:
    """P31"""
    assert next_step(agent((VALVE, HUB)), QUESTION, []) == UseTool("model.escalate", {"text": QUESTION})


@pytest.mark.parametrize(
    ("goal", "tools", "limits"),
    [
        ("Open the valve.", (VALVE, HUB), {}),
        ("How cold is the fridge?", (SENSOR, HUB), {}),
        (QUESTION, (VALVE,), {}),
        (QUESTION, (VALVE, HUB), {"tool_calls": 0}),
    ],
    ids=["no question", "a tool is due", "it may not", "no calls left"],
)
def test_what_is_not_the_hubs_does_not_go_there(
    goal: str, tools: tuple[ToolSpec, ...], limits: dict[str, int]
) -> None:
    step = next_step(agent(tools, **limits), goal, [])
    assert not isinstance(step, UseTool)


def test_what_the_documents_here_do_not_say_is_the_hubs() -> None:
    looked_up = used("memory.read", '{"is_supported": false, "passages": []}', query=QUESTION)
    one = agent((read_memory.SPEC, HUB))
    step = next_step(one, QUESTION, [])
    assert isinstance(step, UseTool)
    assert step.tool == "memory.read"
    assert next_step(one, QUESTION, [looked_up]) == UseTool("model.escalate", {"text": QUESTION})


def test_what_worked_here_before_is_tried_before_the_hub_is_asked() -> None:
    steps = {"is_supported": False, "passages": [], "steps": [{"tool": "valve", "arguments": {"to": "open"}}]}
    looked_up = used("memory.read", json.dumps(steps), query=QUESTION)
    step = next_step(agent((read_memory.SPEC, VALVE, HUB)), QUESTION, [looked_up])
    assert isinstance(step, AskModel)
    assert offered(step.generation)["valve"] == [{"to": "open"}]


def test_a_model_is_offered_the_hub_neither_before_nor_after() -> None:
    for past in ([asked(QUEUED)], [asked('{"denied": "No."}', ok=False)]):
        step = next_step(agent((VALVE, HUB)), QUESTION, past)
        assert isinstance(step, AskModel)
        assert "model.escalate" not in offered(step.generation)
        assert "model.escalate" not in str(step.generation.messages)


def test_a_call_to_the_hub_that_was_interrupted_is_made_again() -> None:
    step = next_step(agent((VALVE, HUB)), QUESTION, [asked(None)])
    assert step == UseTool("model.escalate", {"text": QUESTION}, is_retry=True)


def test_what_the_hub_knows_is_the_answer() -> None:
    step = next_step(agent((VALVE, HUB)), QUESTION, [asked(KNOWN)])
    assert isinstance(step, End)
    assert (step.state, step.text) == (
        NodeState.SUCCEEDED, "The seal.\n\nThis answer came from the hub (quotes).",
    )  # fmt: skip


def test_an_answer_of_the_devices_own_says_that_the_hub_is_asked_too() -> None:
    one, past = agent((HUB,)), [asked(QUEUED)]
    step = next_step(one, QUESTION, past)
    assert isinstance(step, AskModel)
    assert (step.purpose, step.after) == ("answer", WILL_COME)
    end = next_step(one, QUESTION, [*past, ModelSpoke("answer", "The belt.")])
    assert end == End(NodeState.SUCCEEDED, f"The belt.\n\n{WILL_COME}")


@pytest.mark.parametrize("result", ['{"denied": "No rule permits it."}', '{"error": "The journal is full."}'])
def test_a_question_that_may_not_go_changes_nothing(result: str) -> None:
    refused, one = asked(result, ok=False), agent((VALVE, HUB))
    with_it = next_step(one, QUESTION, [refused])
    without = next_step(agent((VALVE,)), QUESTION, [])
    assert isinstance(with_it, AskModel)
    assert isinstance(without, AskModel)
    assert with_it == without
    spoken = [ModelSpoke("act", json.dumps(ANSWER)), ModelSpoke("answer", "The belt.")]
    assert next_step(one, QUESTION, [refused, *spoken]) == End(NodeState.SUCCEEDED, "The belt.")
