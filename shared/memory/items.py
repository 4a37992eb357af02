"""The items of a memory (rule P30): what each sort holds, as which bytes it travels, and what its MAC covers. Pure.

    fact = Fact(subject="fridge", relation="limit", value="8 °C")
    assert content_of("fact", fact.encode()) == fact

What comes from elsewhere is judged before it is believed: `content_of` raises `ProtocolError` for anything else.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from shared.cbor import encode
from shared.errors import ProtocolError

Sort = Literal["episode", "fact", "procedure", "answer"]
Scope = Literal["device", "site", "fleet"]
Author = Literal["person", "agent", "rule"]
SORTS: Final[tuple[Sort, ...]] = ("episode", "fact", "procedure", "answer")
SCOPES: Final[tuple[Scope, ...]] = ("device", "site", "fleet")

NAME_MAX_CHARS: Final = 200
"""Of a fact's subject and relation."""
VALUE_MAX_CHARS: Final = 4_000
STEPS_MAX: Final = 16
DEPENDS_MAX: Final = 64
_WRITTEN: Final = "covey/1/memory.written"
_CHANGED: Final = "covey/1/memory.changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """What was answered to `cue`, and the tools that were used for it, in order. `before`: what was asked just
    before, if
    the cue cannot be understood without it (`surroundings`)."""

    result: str
    tools: tuple[str, ...] = ()
    before: str = ""

    def encode(self) -> bytes:
        told: dict[str, object] = {"result": self.result, "tools": list(self.tools)}
        return _json({**told, "before": self.before} if self.before else told)

    @property
    def text(self) -> str:
        return self.result


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """That the `relation` of `subject` is `value`. `said`: the sentence it was told in, if there was one.

    `is_beside`: it stands beside other values of the same relation (a second phone number) instead of closing them.
    """

    subject: str
    relation: str
    value: str
    said: str = ""
    is_beside: bool = False

    def encode(self) -> bytes:
        told: dict[str, object] = {"subject": self.subject, "relation": self.relation, "value": self.value}
        if self.said:
            told["said"] = self.said
        if self.is_beside:
            told["is_beside"] = True
        return _json(told)

    @property
    def text(self) -> str:
        return self.said or sentence_of(self)

    @property
    def key(self) -> str:
        """By which whatever may be the same relation of the same subject is found, however they are written."""
        return f"{_folded(self.subject)}\x1f{_folded(self.relation)}"

    @property
    def names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Subject and relation, the same only for the very same: blood group A- is not A+, the operator of a pump not
        its operation."""
        from shared.memory.words import words

        return tuple(words(self.subject)), tuple(words(self.relation))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One use of a tool."""

    tool: str
    arguments: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Procedure:
    """What worked for `cue`."""

    steps: tuple[Step, ...]

    def encode(self) -> bytes:
        return _json(
            {"steps": [{"tool": each.tool, "arguments": dict(each.arguments)} for each in self.steps]}
        )

    @property
    def text(self) -> str:
        return "; ".join(
            f"{each.tool}({', '.join(f'{name}: {value}' for name, value in each.arguments.items())})"
            for each in self.steps
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What was answered to `cue`, and what it rested on; it is worth something as long as that is as it was.

    `knowledge`: the root of each collection's revision, in hex. `rules`: the hash of the bundle, in hex. `sensors`:
    what each one showed. `model`: who worded it. `facts`: the items that it was told from."""

    text: str
    knowledge: Mapping[str, str] = field(default_factory=dict)
    rules: str = ""
    sensors: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    facts: tuple[str, ...] = ()

    def encode(self) -> bytes:
        return _json(
            {
                "text": self.text, "knowledge": dict(self.knowledge), "rules": self.rules,
                "sensors": dict(self.sensors), "model": self.model, "facts": list(self.facts),
            }
        )  # fmt: skip


Content = Episode | Fact | Procedure | Answer


def sentence_of(fact: Fact) -> str:
    """The fact in words that a person and a small model read."""
    return (
        f"{fact.subject}, {fact.relation}: {fact.value}" if fact.relation else f"{fact.subject}: {fact.value}"
    )


def content_of(sort: str, data: bytes) -> Content:
    """What the content of a record says. Raises `ProtocolError` if it is none of this sort."""
    try:
        told = json.loads(data)
        match sort:
            case "episode":
                return Episode(
                    result=_text(told["result"]),
                    tools=tuple(map(_text, told.get("tools", []))),
                    before=_text(told.get("before", ""), VALUE_MAX_CHARS),
                )
            case "fact":
                return Fact(
                    subject=_text(told["subject"], NAME_MAX_CHARS),
                    relation=_text(told["relation"], NAME_MAX_CHARS),
                    value=_text(told["value"], VALUE_MAX_CHARS),
                    said=_text(told.get("said", ""), VALUE_MAX_CHARS),
                    is_beside=told.get("is_beside") is True,
                )
            case "procedure":
                return Procedure(steps=tuple(map(_step, _list(told["steps"], STEPS_MAX))))
            case "answer":
                return Answer(
                    text=_text(told["text"]),
                    knowledge=_names(told["knowledge"]),
                    rules=_text(told["rules"]),
                    sensors=_names(told["sensors"]),
                    model=_text(told["model"]),
                    facts=tuple(map(_text, _list(told.get("facts", []), DEPENDS_MAX))),
                )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ProtocolError(f"This is no {sort} as a memory holds them.", code="invalid") from error
    raise ProtocolError(f"A memory holds no {sort[:40]!r}.", code="invalid")


def key_of(cue: str, content: Content) -> str:
    """By which items of a sort that speak of the same are found: relation of a subject, words of what was asked."""
    match content:
        case Fact():
            return content.key
        case Procedure():
            return hashlib.sha256(content.encode()).hexdigest()
        case Episode() | Answer():
            return _folded(cue)


def written_mac(
    key: bytes,
    *,
    item: str,
    sort: str,
    scope: str,
    by: str,
    cue: bytes,
    content: bytes,
    at_ms: int,
    valid_from_ms: int | None,
    labels: tuple[str, ...],
    task: str | None,
    node: int | None,
) -> bytes:
    """Of an item as it is written: HMAC-SHA-256 over everything that recall reads of it. `key`: 32 bytes."""
    fields = [_WRITTEN, item, sort, scope, by, cue, content, at_ms, valid_from_ms, list(labels), task, node]
    return hmac.digest(key, encode(fields), hashlib.sha256)


def changed_mac(
    key: bytes,
    *,
    item: str,
    until_ms: int | None,
    reason: str | None,
    other: str | None,
    successes: int,
    failures: int,
) -> bytes:
    """Of how an item stands now."""
    fields = [_CHANGED, item, until_ms, reason, other, successes, failures]
    return hmac.digest(key, encode(fields), hashlib.sha256)


def _folded(text: str) -> str:
    from shared.retrieval.terms import terms  # with stemmers of forty languages; an idle device does without

    return " ".join(terms(text)) or text.strip().casefold()


def _json(told: object) -> bytes:
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def _text(value: object, max_chars: int | None = None) -> str:
    if not isinstance(value, str) or (max_chars is not None and len(value) > max_chars):
        raise ValueError(value)
    return value


def _list(value: object, max_items: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > max_items:
        raise ValueError(value)
    return value


def _names(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > DEPENDS_MAX:
        raise ValueError(value)
    return {_text(name): _text(each) for name, each in value.items()}


def _step(value: object) -> Step:
    if not isinstance(value, dict) or not isinstance(value["arguments"], dict):
        raise TypeError(value)
    return Step(tool=_text(value["tool"]), arguments=value["arguments"])
