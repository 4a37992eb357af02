"""Contracts: the careful reading of what is not said, and refusal of what says nothing."""

from typing import Any

import pytest
from pydantic import ValidationError

from shared.policy.contracts import (
    ACTIONS,
    DURATION_MAX_S,
    LONG_MAX,
    Package,
    Parameter,
    Rate,
    ToolContract,
)
from shared.policy.labels import UNTRUSTED
from tests.support.policy import package_of


def refused(model: type[Any], fields: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(fields)
    return str(caught.value)


def tool(**fields: Any) -> dict[str, Any]:
    return {"side_effect": "none", **fields}


# --- what is not said ---


def test_a_tool_of_which_little_is_said_returns_untrusted_text_and_is_a_sink_for_nothing() -> None:
    contract = ToolContract.model_validate({"side_effect": "none"})
    assert contract.result_labels == (UNTRUSTED,)
    assert contract.sink is not None
    assert (contract.sink.cleared, contract.idempotent, dict(contract.parameters)) == ((), False, {})


def test_no_labels_are_said_by_an_empty_list() -> None:
    assert ToolContract.model_validate(tool(result={"labels": []})).result_labels == ()


def test_false_is_no_sink_and_true_is_one_for_nothing() -> None:
    assert ToolContract.model_validate(tool(sink=False)).sink is None
    assert ToolContract.model_validate(tool(sink=True)) == ToolContract.model_validate(tool())


def test_the_side_effect_has_to_be_said() -> None:
    assert "side_effect" in refused(ToolContract, {})


def test_the_actions_of_every_agent_are_asked_about_too() -> None:
    contracts = package_of("tools: {look: {side_effect: none}}").contracts()
    assert contracts.keys() == {"look", *ACTIONS}
    assert {name for name in ACTIONS if contracts[name].sink is not None} == {
        "model.escalate", "message.hub", "message.peer",
    }  # fmt: skip


def test_a_package_may_clear_or_guard_an_action_but_not_change_its_arguments() -> None:
    said = package_of("""
        labels: {internal: {kind: confidentiality}}
        roles: {chief: {}}
        actions:
          model.escalate: {sink: {for: [internal]}, approvals: [chief]}
          message.hub: {rates: [{max: 1, per: 1h}]}
    """).contracts()
    escalate = said["model.escalate"]
    assert escalate.sink is not None
    assert (escalate.sink.cleared, escalate.approvals) == (("internal",), ("chief",))
    assert escalate.parameters == ACTIONS["model.escalate"].parameters
    assert said["message.hub"].sink == ACTIONS["message.hub"].sink, "a rate says nothing of the sink"
    assert said["message.hub"].rates == (Rate(max=1, per=3_600),)
    assert "parameters" in refused(
        Package, {"name": "p", "version": 1, "actions": {"message.hub": {"parameters": {}}}}
    )


# --- types ---


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"type": "text"}, "'string', 'identifier'"),
        ({"type": "list"}, "says what its items are"),
        ({"type": "list", "items": {"type": "list", "items": {"type": "string"}}}, "says what its items"),
        ({"type": "list", "items": {"type": "object", "properties": {}}}, "says what its items"),
        ({"type": "string", "items": {"type": "string"}}, "only a list has items"),
        ({"type": "object"}, "has properties"),
        ({"type": "string", "properties": {}}, "has properties"),
        ({"type": "string", "min": 1}, "only an integer or a number"),
        ({"type": "number", "min": 2, "max": 1}, "min is greater than max"),
        ({"type": "number", "enum": ["1"]}, "only a string or an identifier"),
        ({"type": "string", "enum": []}, "at least 1 item"),
        ({"type": "boolean", "max_length": 1}, "has max_length"),
        ({"type": "number", "min": float("nan")}, "finite"),
        ({"type": "number", "max": float("inf")}, "finite"),
        ({"type": "string", "$ref": "https://example.org/schema.json"}, "Extra inputs"),
        ({"type": "string", "pattern": "(a+)+"}, "Extra inputs"),
        ({"type": "string", "max_length": 8_193}, "less than or equal to 8192"),
        ({"type": "object", "properties": {"a-b": {"type": "string"}}}, "pattern"),
    ],
)
def test_a_type_that_says_nothing_clear_is_refused(fields: dict[str, Any], says: str) -> None:
    assert says in refused(Parameter, fields)


def test_objects_nest_as_deep_as_the_bound_and_no_deeper() -> None:
    nested: dict[str, Any] = {"type": "string"}
    for _ in range(3):
        nested = {"type": "object", "properties": {"a": nested}}
    Parameter.model_validate(nested)
    assert "nested 4 deep" in refused(Parameter, {"type": "object", "properties": {"a": nested}})


def test_a_huge_nesting_is_refused_and_not_a_crash() -> None:
    nested: dict[str, Any] = {"type": "string"}
    for _ in range(5_000):
        nested = {"type": "object", "properties": {"a": nested}}
    refused(Parameter, nested)


@pytest.mark.parametrize(
    ("fields", "is_bounded"),
    [
        ({"type": "boolean"}, True),
        ({"type": "string"}, False),
        ({"type": "string", "max_length": 10}, True),
        ({"type": "identifier", "enum": ["a"]}, True),
        ({"type": "number", "min": 0}, False),
        ({"type": "integer", "min": 0, "max": 5}, True),
        ({"type": "list", "items": {"type": "boolean"}}, False),
        ({"type": "list", "items": {"type": "string"}, "max_length": 2}, False),
        ({"type": "list", "items": {"type": "boolean"}, "max_length": 2}, True),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, False),
    ],
)
def test_what_counts_as_bounded(fields: dict[str, Any], is_bounded: bool) -> None:
    assert Parameter.model_validate(fields).is_bounded is is_bounded


# --- tools ---


@pytest.mark.parametrize(
    "name", ["rеfund", "re fund", "", ".x", "x" * 65, "refund\n", "ｒefund", "re\u200bfund"]
)
def test_a_tool_is_not_named_with_letters_that_look_like_others(name: str) -> None:
    refused(Package, {"name": "p", "version": 1, "tools": {name: tool()}})


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"entity": {"kind": "order", "argument": "order"}}, "'order', which is no parameter"),
        ({"entity": {"kind": "order"}}, "one of the two"),
        ({"entity": {"kind": "order", "argument": "a", "result": "b"}}, "one of the two"),
        ({"entity": {"kind": "order", "result": "a[].b[]"}}, "one list at most"),
        ({"entity": {"kind": "order", "result": "a..b"}}, "pattern"),
        ({"entity": {"kind": "Order!", "argument": "a"}}, "pattern"),
        ({"sink": {"recipient": "to"}}, "no parameter of text"),
        ({"sink": {"for": "internal"}}, "tuple"),
        ({"side_effect": "some"}, "'none', 'local'"),
        ({"rates": [{"max": -1, "per": "1h"}]}, "greater than or equal to 0"),
        ({"rates": [{"max": 1, "per": "1h", "by": "person"}]}, "'device', 'task'"),
        ({"approvals": ["a"] * 9}, "at most 8"),
    ],
)
def test_a_contract_that_names_what_is_not_there_is_refused(fields: dict[str, Any], says: str) -> None:
    assert says in refused(ToolContract, tool(**fields))


def test_an_entity_is_named_by_a_plain_value() -> None:
    amount = {"parameters": {"amount": {"type": "number"}}, "entity": {"kind": "sum", "argument": "amount"}}
    assert "no parameter of type identifier" in refused(ToolContract, tool(**amount))


# --- spans of time, versions, names ---


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("90s", 90), ("15m", 900), ("2h", 7_200), ("7d", 604_800), (60, 60), (" 1h ", 3_600)],
)
def test_a_span_of_time_is_read(said: object, seconds: int) -> None:
    assert Rate.model_validate({"max": 1, "per": said}).per == seconds


@pytest.mark.parametrize("said", ["1w", "h", "-1s", "1.5h", "0s", "1h30m", True, None, 0, 1e3, "367d", "١h"])
def test_what_is_no_span_of_time_is_refused(said: object) -> None:
    refused(Rate, {"max": 1, "per": said})


def test_a_year_and_a_day_is_the_longest_span() -> None:
    assert Rate.model_validate({"max": 1, "per": DURATION_MAX_S}).per == DURATION_MAX_S
    refused(Rate, {"max": 1, "per": DURATION_MAX_S + 1})


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "Caps"}, {"name": ""}, {"version": 0}, {"version": -1}, {"version": LONG_MAX + 1}, {"version": "1"},
        {"expires": "2026-01-01T00:00:00"}, {"surprise": 1}, {"threats": {"imitation": "explode"}},
        {"obligations": [{"redact": ["nonsense"]}]}, {"obligations": [{"redact": []}]}, {"lease": "0s"},
        {"labels": {f"l{n}": {"kind": "integrity"} for n in range(32)}}, {"audience": {"tenant": "A B"}},
    ],
)  # fmt: skip
def test_a_package_with_a_wrong_word_is_refused(fields: dict[str, Any]) -> None:
    refused(Package, {"name": "p", "version": 1, **fields})
