"""What other agents log, as lines of our own form: chats as OpenAI's and Anthropic's interfaces speak them.

* messages with a `role`: `content` as text or in parts, `tool_calls`, `function_call`, answers of role `tool` and
  `function` (https://platform.openai.com/docs/api-reference/chat); parts `tool_use` and `tool_result`
  (https://docs.anthropic.com/en/api/messages), whose results come in messages of the user;
* items with a `type`: `message`, `function_call`, `function_call_output`
  (https://platform.openai.com/docs/api-reference/responses);
* whole conversations, `messages` in one line, as files for training have them; each is a task of its own.

Who wrote a text decides how far it is trusted, so nothing counts as a person's word but what is plainly text of a
user's or the system's message: what a tool gave is a result wherever it stands, and what is of no known kind is text by
others.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

_TEXTS: Final = frozenset({"text", "input_text", "output_text"})
_CALLS: Final = frozenset({"tool_use", "function_call"})
_RESULTS: Final = frozenset({"tool_result", "function_call_output"})
_THOUGHTS: Final = frozenset({"thinking", "redacted_thinking", "reasoning", "refusal"})
_SPEAKERS: Final[Mapping[str, str]] = {
    "user": "user", "system": "system", "developer": "system", "assistant": "assistant",
}  # fmt: skip
_TOOLS: Final = ("tool", "function")
_SHOWN: Final = 40
NESTING_MAX: Final = 100
"""Of a line, or of what a result says as JSON: far beyond what contracts allow, and what can be written out again."""

Fields = dict[str, Any]


class ChatError(ValueError):
    """A message that is none; one sentence."""


def events_of(value: Mapping[str, Any], place: str) -> Iterator[Fields]:
    """The lines that an entry of a log stands for; itself, if it is no such entry. `place`: names a conversation.

    Raises `ChatError`.
    """
    if isinstance(value.get("messages"), list) and "role" not in value:
        yield {"kind": "task", "task": place}
        for message in value["messages"]:
            if not isinstance(message, dict):
                raise ChatError("a message is no JSON object.")
            yield from _entry(message)
    else:
        yield from _entry(value)


def _entry(value: Mapping[str, Any]) -> Iterator[Fields]:
    if "role" in value:
        yield from _message(value)
    elif isinstance(value.get("type"), str) and "kind" not in value:
        yield from _part(value, "peer")
    else:
        yield dict(value)


def _message(message: Mapping[str, Any]) -> Iterator[Fields]:
    role, content = message["role"], message.get("content")
    if role in _TOOLS:
        name = message.get("name")
        yield _result(message.get("tool_call_id"), content, tool=name if isinstance(name, str) else "")
        return
    if not isinstance(role, str) or role not in _SPEAKERS:
        raise ChatError(f"there is no role {str(role)[:_SHOWN]!r}.")
    for part in content if isinstance(content, list) else () if content is None else (content,):
        yield from _part(part, _SPEAKERS[role])
    calls = message.get("tool_calls") or ()
    if not isinstance(calls, list):
        if calls:
            raise ChatError("tool_calls is no list.")
        calls = []
    if isinstance(message.get("function_call"), dict):
        calls = [*calls, message["function_call"]]  # as before tool_calls
    for call in calls:
        if not isinstance(call, dict):
            raise ChatError("a tool call is no JSON object.")
        yield _call(call)


def _part(part: object, speaker: str) -> Iterator[Fields]:
    """One piece of a message by `speaker`."""
    if isinstance(part, str):
        if part:
            yield {"kind": "message", "from": speaker, "text": part}
        return
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(part, Mapping) or not isinstance(kind, str):
        yield _of_others(part)
    elif kind in _TEXTS and isinstance(part.get("text"), str):
        yield from _part(part["text"], speaker)
    elif kind == "message" and "role" in part:
        yield from _message(part)
    elif kind in _CALLS:
        yield _call(part)
    elif kind in _RESULTS:
        output = part["output"] if "output" in part else part.get("content")
        is_ok = part.get("is_error") is not True
        yield _result(part.get("tool_use_id") or part.get("call_id"), output, tool="", is_ok=is_ok)
    elif kind in _THOUGHTS:
        yield {"kind": "message", "from": "assistant", "text": json.dumps(part, ensure_ascii=False)}
    else:
        yield _of_others(part)


def _of_others(value: object) -> Fields:
    """A picture's address, what a server searched, a kind that came later: it may say anything."""
    return {"kind": "message", "from": "peer", "text": json.dumps(value, ensure_ascii=False)}


def _call(call: Mapping[str, Any]) -> Fields:
    function = next((call[each] for each in ("function", "custom") if isinstance(call.get(each), dict)), call)
    arguments = function["input"] if "input" in function else function.get("arguments")
    if arguments is None:
        arguments = {}
    elif not isinstance(arguments, dict | str):
        arguments = json.dumps(arguments)  # what is no object is refused as such, not the log
    return {
        "kind": "call",
        "id": _text(call.get("call_id") or call.get("id")),
        "tool": _text(function.get("name")),
        "arguments": arguments,
    }


def _result(call: object, content: object, *, tool: str, is_ok: bool = True) -> Fields:
    """A result without an id belongs to the oldest call that has none yet, of the tool if it is named."""
    told: Fields = {"kind": "result", "content": _content(content), "ok": is_ok}
    return {**told, "id": _text(call)} if call else {**told, "tool": tool}


def _content(content: object) -> object:
    """What a tool gave: what JSON says, or its text; of parts that are all text the texts, else all of it."""
    if isinstance(content, Sequence) and not isinstance(content, str):
        texts = [_text_of(part) for part in content]
        told = [text for text in texts if text is not None]
        content = "\n".join(told) if len(told) == len(texts) else list(content)
    if not isinstance(content, str):
        return content
    try:
        read = json.loads(content)
    except (ValueError, RecursionError):
        return content
    return content if is_deeper(read, NESTING_MAX) else read


def is_deeper(value: object, limit: int) -> bool:
    """Whether lists and objects stand in one another more than `limit` deep."""
    level = [value]
    for _ in range(limit + 1):
        level = [
            item
            for part in level
            if isinstance(part, list | tuple | Mapping)
            for item in (part.values() if isinstance(part, Mapping) else part)
        ]
        if not level:
            return False
    return True


def _text_of(part: object) -> str | None:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and part.get("type") in _TEXTS and isinstance(part.get("text"), str):
        return str(part["text"])
    return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)
