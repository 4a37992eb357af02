"""Compile a JSON schema into a GBNF grammar under which a model can only write JSON that is valid for it.

Every text of the grammar is valid; not every valid text is in the grammar: optional members keep the schema's order,
members that the schema does not name are not written, white space is at most one blank after ":" and ",". A keyword
that narrows what is valid and cannot be expressed is refused, never ignored. Pure. GBNF: llama.cpp's
grammars/README.md. Schema: JSON Schema 2020-12.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from shared.errors import ProtocolError

MAX_RULES: Final = 2_000
MAX_DEPTH: Final = 64
# llama.cpp refuses more; a longer string or array is simply not written.
MAX_REPETITIONS: Final = 1_000
INTEGER_DIGITS: Final = 15
FRACTION_DIGITS: Final = 15

_SAYS_NOTHING: Final = frozenset(
    {"$schema", "$id", "$comment", "$defs", "definitions", "$anchor", "title", "description", "default", "examples",
     "deprecated", "readOnly", "writeOnly", "format", "contentEncoding", "contentMediaType", "discriminator"}
)  # fmt: skip
_KEYWORDS: Final[Mapping[str, frozenset[str]]] = {
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems"}),
    "string": frozenset({"minLength", "maxLength"}),
    "integer": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
    "number": frozenset({"minimum", "maximum"}),
    "boolean": frozenset(),
    "null": frozenset(),
}
_ANY_KEYWORD: Final = frozenset[str]().union(*_KEYWORDS.values())

_FIXED: Final = {
    # Every character can be written as itself, so no \u escape: it could spell half a surrogate pair.
    "char": r'[^"\\\x00-\x1F\x7F] | "\\" ["\\/bfnrt]',
    "string": r'"\"" char* "\""',
    "integer": f'"-"? ("0" | [1-9] [0-9]{{0,{INTEGER_DIGITS - 1}}})',
    "number": f'integer ("." [0-9]{{1,{FRACTION_DIGITS}}})?',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "value": "object | array | string | number | boolean | null",
    "object": '"{" (member ("," " "? member)*)? "}"',
    "member": 'string ":" " "? value',
    "array": '"[" (value ("," " "? value)*)? "]"',
}
_NEEDS: Final = {
    "string": ("char",),
    "number": ("integer",),
    "value": ("object", "array", "string", "number", "boolean", "null"),
    "object": ("member",),
    "member": ("string", "value"),
    "array": ("value",),
}

Schema = Mapping[str, object]


def compile_schema(schema: Schema) -> str:
    """Raises: ProtocolError, naming the place and the keyword, for a schema that cannot be enforced."""
    compiler = _Compiler(schema)
    compiler.define("root", compiler.expression(schema, "#"))
    return compiler.text()


def _refuse(where: str, what: str) -> ProtocolError:
    return ProtocolError(f"The JSON schema cannot be enforced at {where}: {what}.", code="schema_unsupported")


class _Compiler:
    def __init__(self, root: Schema) -> None:
        self._root = root
        self._rules: dict[str, str] = {}
        self._referenced: dict[str, str] = {}
        self._depth = 0

    def text(self) -> str:
        return "\n".join(f"{name} ::= {rule}" for name, rule in self._rules.items()) + "\n"

    def define(self, name: str, rule: str) -> str:
        if len(self._rules) >= MAX_RULES:
            raise _refuse("#", f"it needs more than {MAX_RULES} rules")
        self._rules[name] = rule
        return name

    def expression(self, schema: object, where: str) -> str:
        """The right side that matches `schema`, safe to put into a sequence."""
        self._depth += 1
        try:
            if self._depth > MAX_DEPTH:
                raise _refuse(where, "it is nested too deeply")
            if schema is True or schema == {}:
                return self._fixed("value")
            if not isinstance(schema, Mapping):
                raise _refuse(where, "this is not a schema that anything satisfies")
            return self._of_mapping(schema, where)
        finally:
            self._depth -= 1

    def _of_mapping(self, schema: Schema, where: str) -> str:
        whole: dict[str, Callable[[Schema, str], str]] = {
            "$ref": self._reference,
            "const": lambda schema, _: _literal(schema["const"]),
            "enum": self._enumeration,
            "anyOf": self._any_of,
            "oneOf": self._one_of,
            "allOf": self._all_of,
        }
        for keyword, compile_it in whole.items():
            if keyword in schema:
                # "type" beside these is what generators add; it is checked where it can be, else refused.
                self._only(schema, {keyword, "type"} if keyword in ("const", "enum") else {keyword}, where)
                return compile_it(schema, where)
        kind = schema["type"] if "type" in schema else self._guess(schema, where)
        if isinstance(kind, list):
            narrowed = [
                {k: v for k, v in schema.items() if k not in _ANY_KEYWORD or k in _KEYWORDS.get(str(one), ())}
                | {"type": one}
                for one in kind
            ]
            self._only(schema, {"type", *_ANY_KEYWORD}, where)
            return self._alternatives([self.expression(one, where) for one in narrowed], where)
        if not isinstance(kind, str) or kind not in _KEYWORDS:
            raise _refuse(where, f"there is no type {kind!r}")
        self._only(schema, {"type", *_KEYWORDS[kind]}, where)
        by_type: dict[str, Callable[[Schema, str], str]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "integer": self._integer,
            "number": self._number,
        }
        return by_type[kind](schema, where) if kind in by_type else self._fixed(kind)

    def _guess(self, schema: Schema, where: str) -> str:
        """Without a type, keywords of one type restrict only that type; every text of that type is still valid."""
        for kind in ("object", "array", "string"):
            if _KEYWORDS[kind] & set(schema):
                return kind
        raise _refuse(where, "it names no type")

    def _only(self, schema: Schema, allowed: set[str], where: str) -> None:
        if unknown := set(schema) - allowed - _SAYS_NOTHING:
            raise _refuse(where, f"the keyword {min(unknown)!r} cannot be expressed here")

    def _fixed(self, name: str) -> str:
        if name not in self._rules:
            self.define(name, _FIXED[name])
            for needed in _NEEDS.get(name, ()):
                self._fixed(needed)
        return name

    def _named(self, rule: str) -> str:
        return self.define(f"r{len(self._rules)}", rule)

    def _alternatives(self, rules: Sequence[str], where: str) -> str:
        if not rules:
            raise _refuse(where, "nothing satisfies it")
        return rules[0] if len(rules) == 1 else self._named(" | ".join(rules))

    # --- combining

    def _reference(self, schema: Schema, where: str) -> str:
        reference = schema["$ref"]
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise _refuse(where, f"the reference {reference!r} leads out of the schema")
        if reference not in self._referenced:
            name = self._referenced[reference] = f"ref{len(self._referenced)}"
            rule = self.expression(self._resolve(reference, where), reference)
            if rule == name:
                raise _refuse(where, f"{reference} refers only to itself")
            self.define(name, rule)
        return self._referenced[reference]

    def _resolve(self, reference: str, where: str) -> object:
        target: object = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(target, Mapping) or key not in target:
                raise _refuse(where, f"{reference} is not in the schema")
            target = target[key]
        return target

    def _enumeration(self, schema: Schema, where: str) -> str:
        return self._alternatives([_literal(value) for value in _list(schema["enum"], where)], where)

    def _any_of(self, schema: Schema, where: str) -> str:
        options = _list(schema["anyOf"], where)
        return self._alternatives(
            [self.expression(o, f"{where}/anyOf/{i}") for i, o in enumerate(options)], where
        )

    def _one_of(self, schema: Schema, where: str) -> str:
        options = _list(schema["oneOf"], where)
        if not self._are_disjoint(options, where):
            raise _refuse(
                where, "the options of oneOf are not told apart by type or by a required constant: use anyOf"
            )
        return self._alternatives(
            [self.expression(o, f"{where}/oneOf/{i}") for i, o in enumerate(options)], where
        )

    def _all_of(self, schema: Schema, where: str) -> str:
        options = _list(schema["allOf"], where)
        if len(options) != 1:
            raise _refuse(where, "allOf with several schemas cannot be expressed: merge them")
        return self.expression(options[0], f"{where}/allOf/0")

    def _are_disjoint(self, options: Sequence[object], where: str) -> bool:
        seen = [self._followed(option, where) for option in options]
        kinds = ["number" if one.get("type") == "integer" else one.get("type") for one in seen]
        if all(isinstance(kind, str) for kind in kinds) and len(set(kinds)) == len(kinds):
            return True
        tags = [_constants(one) for one in seen]
        return any(
            all(name in tag for tag in tags) and len({tag[name] for tag in tags}) == len(tags)
            for name in tags[0]
        )

    def _followed(self, option: object, where: str) -> Schema:
        for _ in range(MAX_DEPTH):
            if not isinstance(option, Mapping):
                break
            reference = option.get("$ref")
            if not isinstance(reference, str):
                return option
            option = self._resolve(reference, where)
        raise _refuse(where, "an option of oneOf is not a schema")

    # --- types

    def _object(self, schema: Schema, where: str) -> str:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        extra = schema.get("additionalProperties", True)
        if not isinstance(properties, Mapping) or not isinstance(required, list):
            raise _refuse(where, "properties is not a mapping or required not a list")
        if unknown := set(map(str, required)) - set(properties):
            raise _refuse(where, f"it requires {min(unknown)!r} but does not describe it")
        if not properties:
            return self._map(extra, where)
        members = [
            (self._named(f'{_literal(str(key))} ":" " "? {self.expression(value, f"{where}/properties/{key}")}'),
             key in required)
            for key, value in properties.items()
        ]  # fmt: skip
        return self._named(f'"{{" {self._members(members)} "}}"')

    def _members(self, members: Sequence[tuple[str, bool]]) -> str:
        """Commas go between what is written, and optional members may be left out.

        Built from the end: `rest` is what may follow once a member was written, `first` what may begin.
        """
        rest, first = '""', '""'
        for member, is_required in reversed(members):
            beginning = f"{member} {rest}" if rest != '""' else member
            following = f'"," " "? {member}' + (f" {rest}" if rest != '""' else "")
            if is_required:
                first, rest = beginning, self._named(following)
            else:
                first = self._named(f"{beginning} | {first}")
                rest = self._named(f"{following} | {rest}")
        return first

    def _map(self, extra: object, where: str) -> str:
        if extra is False:
            return '"{" "}"'
        if extra is True or extra == {}:
            return self._fixed("object")
        value = self.expression(extra, f"{where}/additionalProperties")
        entry = self._named(f'{self._fixed("string")} ":" " "? {value}')
        return self._named(f'"{{" ({entry} ("," " "? {entry})*)? "}}"')

    def _array(self, schema: Schema, where: str) -> str:
        low, high = self._lengths(schema, "minItems", "maxItems", where)
        prefix = _list(schema.get("prefixItems", []), where)
        if prefix:
            if low > len(prefix) or (high is not None and high < len(prefix)):
                raise _refuse(where, "minItems and maxItems do not fit prefixItems")
            fixed = [self.expression(item, f"{where}/prefixItems/{i}") for i, item in enumerate(prefix)]
            return self._named('"[" ' + ' "," " "? '.join(fixed) + ' "]"')
        item = self.expression(schema.get("items", True), f"{where}/items")
        if high == 0:
            return '"[" "]"'
        more = f'("," " "? {item})'
        body = f"{item} {more}{_times(max(0, low - 1), None if high is None else high - 1)}"
        return self._named(f'"[" {body} "]"' if low else f'"[" ({body})? "]"')

    def _string(self, schema: Schema, where: str) -> str:
        low, high = self._lengths(schema, "minLength", "maxLength", where)
        if low == 0 and high is None:
            return self._fixed("string")
        return self._named(rf'"\"" {self._fixed("char")}{_times(low, high)} "\""')

    def _lengths(self, schema: Schema, low_key: str, high_key: str, where: str) -> tuple[int, int | None]:
        low, high = _integer(schema, low_key, where) or 0, _integer(schema, high_key, where)
        if low < 0 or low > MAX_REPETITIONS or (high is not None and high < low):
            raise _refuse(where, f"{low_key} and {high_key} are impossible or over {MAX_REPETITIONS}")
        return low, None if high is None else min(high, MAX_REPETITIONS)

    def _integer(self, schema: Schema, where: str) -> str:
        low, high = _integer(schema, "minimum", where), _integer(schema, "maximum", where)
        above, below = (
            _integer(schema, "exclusiveMinimum", where),
            _integer(schema, "exclusiveMaximum", where),
        )
        low = max((v for v in (low, None if above is None else above + 1) if v is not None), default=None)
        high = min((v for v in (high, None if below is None else below - 1) if v is not None), default=None)
        if low is None and high is None:
            return self._fixed("integer")
        return self._alternatives(_integer_range(low, high), where)

    def _number(self, schema: Schema, where: str) -> str:
        low, high = _integer(schema, "minimum", where), _integer(schema, "maximum", where)
        if low is None and high is None:
            return self._fixed("number")
        fraction = f'("." [0-9]{{1,{FRACTION_DIGITS}}})?'
        options = list(_integer_range(low, high))
        # n.f lies between n and n+1, -n.f between -n-1 and -n: one whole number less on the far side.
        options += [
            f"{rule} {fraction}" for rule in _magnitudes(max(low or 0, 0), None if high is None else high - 1)
        ]
        options += [
            f'"-" {rule} {fraction}'
            for rule in _magnitudes(
                max(-high, 0) if high is not None else 0, None if low is None else -low - 1
            )
        ]
        return self._alternatives(options, where)


def _literal(value: object) -> str:
    """A JSON value as the text between GBNF quotes."""
    text = json.dumps(value, ensure_ascii=False, separators=(", ", ": "))
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'


def _times(low: int, high: int | None) -> str:
    if (low, high) == (0, None):
        return "*"
    return f"{{{low},{'' if high is None else high}}}"


def _list(value: object, where: str) -> Sequence[object]:
    if not isinstance(value, list | tuple):
        raise _refuse(where, "a list is expected")
    return value


def _integer(schema: Schema, keyword: str, where: str) -> int | None:
    """The bound, or None when there is none or none that matters for the numbers which the grammar can write."""
    value = schema.get(keyword)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise _refuse(where, f"{keyword} is not a whole number")
    if abs(value) < 10**INTEGER_DIGITS:
        return int(value)
    if (value > 0) == keyword.lower().endswith("maximum"):
        return None
    raise _refuse(where, f"{keyword} has more than {INTEGER_DIGITS} digits")


def _constants(schema: Schema) -> dict[str, str]:
    """Required members that can have one value only: what tells the options of a union apart."""
    properties, required = schema.get("properties"), schema.get("required", [])
    if not isinstance(properties, Mapping) or not isinstance(required, list):
        return {}
    found = {}
    for key, value in properties.items():
        if isinstance(value, Mapping) and key in required:
            only = value.get("enum", [value["const"]] if "const" in value else [])
            if isinstance(only, list) and len(only) == 1:
                found[str(key)] = json.dumps(only[0])
    return found


def _integer_range(low: int | None, high: int | None) -> list[str]:
    """Alternatives for the whole numbers from `low` to `high`, without "-0"."""
    positive = _magnitudes(max(low or 0, 0), high)
    negative = _magnitudes(1 if high is None else max(-high, 1), None if low is None else -low)
    return positive + [f'"-" {rule}' for rule in negative]


def _magnitudes(low: int, high: int | None) -> list[str]:
    """Alternatives for the digits of low..high, `low` not negative; none when that is empty."""
    top = 10**INTEGER_DIGITS - 1 if high is None else high
    rules, whole = [], []
    for length in range(len(str(low)), len(str(top)) + 1 if top >= low else 0):
        least, most = 10 ** (length - 1), 10**length - 1
        first, last = max(low, 0 if length == 1 else least), min(top, most)
        if (first, last) == (least, most):
            whole.append(length)
        else:
            rules.append(_digits_between(str(first), str(last)))
    if whole:
        rules.append(f"[1-9] [0-9]{{{whole[0] - 1},{whole[-1] - 1}}}")
    return rules


def _digits_between(low: str, high: str) -> str:
    """Digit strings of one length, from `low` to `high`."""
    free = len(low) - 1
    zeros, nines = "0" * free, "9" * free
    first, last = int(low[0]), int(high[0])
    if first == last:
        return f'"{first}"' + (f" {_digits_between(low[1:], high[1:])}" if free else "")
    below = above = None
    if low[1:] != zeros:
        below, first = f'"{first}" {_digits_between(low[1:], nines)}', first + 1
    if high[1:] != nines:
        above, last = f'"{last}" {_digits_between(zeros, high[1:])}', last - 1
    between = f"[{first}-{last}]" + (f" [0-9]{{{free}}}" if free else "") if first <= last else None
    options = [option for option in (below, between, above) if option is not None]
    return options[0] if len(options) == 1 else f"({' | '.join(options)})"
