"""Arguments as they are decided on and executed: checked against the contract, then frozen.

The decision, the approval and the call all take the same bytes: canonical JSON in the manner of RFC 8785 (keys
sorted, no spaces), and a call's digest is over tool and bytes. What cannot be said exactly is refused, not rounded.
"""

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final, cast

from shared.errors import RefusedError
from shared.policy.contracts import (
    DECIMALS_MAX,
    LONG_MAX,
    NUMBER_MAX,
    STRING_MAX_CHARS,
    Parameter,
    ToolContract,
)

ARGUMENTS_MAX_BYTES: Final = 32_768
JSON_DEPTH_MAX: Final = 16
LIST_MAX: Final = 256
SHOWN_CHARS: Final = 40
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9._:@/+-]+")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_CANONICAL: Final = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":")
)
_DECODER: Final = json.JSONDecoder()
_PLAIN: Final = re.compile(rf"-?[0-9]{{1,{len(str(NUMBER_MAX)) - 1}}}(?:\.[0-9]{{1,{DECIMALS_MAX}}})?")
"""A number that is within the bounds at first sight."""
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


Part = Mapping[str, "Part | None"]
"""Which members of a record are wanted, and of each which of its own; None: all of it."""


class ArgumentError(RefusedError):
    """Arguments that no rule is asked about."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="arguments")


@dataclass(frozen=True, slots=True)
class Call:
    """A tool and its arguments, frozen. `arguments` is canonical JSON; equal calls are equal byte for byte."""

    tool: str
    arguments: bytes

    def values(self) -> dict[str, object]:
        """The arguments as plain values, made anew from the bytes: changing them changes no decision."""
        return cast("dict[str, object]", _DECODER.decode(self.arguments.decode()))

    @property
    def digest(self) -> bytes:
        """SHA-256 over the tool's name and the arguments: what an approval is bound to."""
        name = self.tool.encode()
        return hashlib.sha256(len(name).to_bytes(4, "big") + name + self.arguments).digest()


def parse_arguments(text: str | bytes) -> dict[str, object]:
    """The object that a model wrote. Raises `ArgumentError` for what is no JSON object, or says a key twice."""
    size = len(text)
    if size > ARGUMENTS_MAX_BYTES:
        raise ArgumentError(f"The arguments have {size} bytes; at most {ARGUMENTS_MAX_BYTES} are allowed.")
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise ArgumentError(f"The arguments are nested deeper than {JSON_DEPTH_MAX}.") from None
    except UnicodeDecodeError:
        raise ArgumentError("The arguments are not UTF-8.") from None
    except ValueError as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError("The arguments are no JSON object.") from None
    if not isinstance(value, dict):
        raise ArgumentError("The arguments are no JSON object.")
    if _is_deep(value):
        raise ArgumentError(f"The arguments are nested deeper than {JSON_DEPTH_MAX}.")
    return value


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(JSON_DEPTH_MAX + 1):
        level = [
            item
            for part in level
            if isinstance(part, list | dict)
            for item in (part.values() if isinstance(part, dict) else part)
        ]
    return bool(level)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = next(name for index, (name, _) in enumerate(pairs) if name in dict(pairs[:index]))
        raise ArgumentError(f"The arguments say {shown(twice)} twice.")
    return made


def _no_constant(name: str) -> object:
    raise ArgumentError(f"The arguments contain {name}, which is no number.")


def normalise(tool: str, contract: ToolContract, arguments: Mapping[str, object]) -> Call:
    """The frozen call, if every argument is as the contract says.

    Raises `ArgumentError` with one sentence that the model can use.
    """
    for name in arguments:
        if name not in contract.parameters:
            known = ", ".join(contract.parameters) or "none"
            raise ArgumentError(f"{tool} has no argument {shown(name)}; it has: {known}.")
    made: dict[str, object] = {}
    for name, parameter in contract.parameters.items():
        if name in arguments:
            made[name] = _value(name, parameter, arguments[name])
        elif parameter.required:
            raise ArgumentError(f"{tool} needs the argument {name}.")
    data = canonical_json(made)
    if len(data) > ARGUMENTS_MAX_BYTES:
        raise ArgumentError(
            f"The arguments have {len(data)} bytes; at most {ARGUMENTS_MAX_BYTES} are allowed."
        )
    return Call(tool, data)


def canonical_json(value: object) -> bytes:
    """`value` as JSON with sorted keys and no spaces."""
    return _CANONICAL.encode(value).encode()


def decimal_of(value: object) -> Decimal | None:
    """`value` as rules compare it, exactly; None if it is no finite number within Cedar's decimals."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and abs(value) > NUMBER_MAX:
        return None  # before it is written out: Python writes no number of thousands of digits
    if isinstance(value, str) and len(value) > 32:
        return None
    written = str(value)
    if _PLAIN.fullmatch(written) is not None:
        return Decimal(written)
    try:
        made = Decimal(written)
    except InvalidOperation:
        return None
    if not made.is_finite() or abs(made) > NUMBER_MAX:
        return None
    exponent = cast("int", made.normalize().as_tuple().exponent)
    return made if exponent >= -DECIMALS_MAX else None


def shown(value: object) -> str:
    """A model's own word within a sentence: short, and without characters that nobody sees."""
    text = value if isinstance(value, str) else repr(value)
    clean = "".join("?" if unicodedata.category(c) in _INVISIBLE else c for c in text[: SHOWN_CHARS + 1])
    return f'"{clean[:SHOWN_CHARS]}…"' if len(clean) > SHOWN_CHARS else f'"{clean}"'


def _value(place: str, parameter: Parameter, value: object) -> object:
    match parameter.type:
        case "string" | "identifier":
            return _string(place, parameter, value)
        case "integer":
            return _integer(place, parameter, value)
        case "number":
            return _number(place, parameter, value)
        case "boolean":
            if not isinstance(value, bool):
                raise ArgumentError(f"{place} has to be true or false.")
            return value
        case "list":
            return _list(place, parameter, value)
        case "object":
            return _object(place, parameter, value)


def _string(place: str, parameter: Parameter, value: object) -> str:
    if not isinstance(value, str):
        raise ArgumentError(f"{place} has to be text.")
    if not value.isascii():
        if _SURROGATE.search(value) is not None:
            raise ArgumentError(f"{place} contains half a character (a lone surrogate).")
        # Before its length is judged: composing makes most texts shorter, and some longer.
        value = unicodedata.normalize("NFC", value)
    limit = STRING_MAX_CHARS if parameter.max_length is None else parameter.max_length
    if len(value) > limit:
        raise ArgumentError(f"{place} has {len(value)} characters; at most {limit} are allowed.")
    if parameter.type == "identifier" and _IDENTIFIER.fullmatch(value) is None:
        raise ArgumentError(
            f"{place} may have only letters a to z, digits and . _ : @ / + -, and not be empty: {shown(value)}."
        )
    if parameter.enum is not None and value not in parameter.enum:
        raise ArgumentError(f"{place} has to be one of {', '.join(parameter.enum)}; not {shown(value)}.")
    return value


def _integer(place: str, parameter: Parameter, value: object) -> int:
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not -LONG_MAX <= value <= LONG_MAX:
        raise ArgumentError(f"{place} has to be a whole number.")
    _in_bounds(place, parameter, Decimal(value))
    return value


def _number(place: str, parameter: Parameter, value: object) -> int | float:
    number = None if isinstance(value, str) else decimal_of(value)
    if number is None:
        raise ArgumentError(f"{place} has to be a number with at most {DECIMALS_MAX} digits after the point.")
    _in_bounds(place, parameter, number)
    # One spelling of each value: 5, 5.0 and 5e0 are the same amount and have the same digest.
    return int(number) if number == number.to_integral_value() else float(number)


def _in_bounds(place: str, parameter: Parameter, value: Decimal) -> None:
    unit = f" {parameter.unit}" if parameter.unit else ""
    if parameter.min is not None and value < _bound(parameter.min):
        raise ArgumentError(f"{place} is {value}{unit}; at least {parameter.min}{unit} is allowed.")
    if parameter.max is not None and value > _bound(parameter.max):
        raise ArgumentError(f"{place} is {value}{unit}; at most {parameter.max}{unit} is allowed.")


@lru_cache(maxsize=1_024)
def _bound(value: float) -> Decimal:
    return Decimal(str(value))


def _list(place: str, parameter: Parameter, value: object) -> list[object]:
    if not isinstance(value, list | tuple) or parameter.items is None:
        raise ArgumentError(f"{place} has to be a list.")
    limit = LIST_MAX if parameter.max_length is None else min(LIST_MAX, parameter.max_length)
    if len(value) > limit:
        raise ArgumentError(f"{place} has {len(value)} items; at most {limit} are allowed.")
    return [_value(f"{place}[{index}]", parameter.items, item) for index, item in enumerate(value)]


def _object(place: str, parameter: Parameter, value: object) -> dict[str, object]:
    properties = parameter.properties or {}
    if not isinstance(value, Mapping):
        raise ArgumentError(f"{place} has to be an object.")
    for name in value:
        if name not in properties:
            raise ArgumentError(
                f"{place} has no field {shown(name)}; it has: {', '.join(properties) or 'none'}."
            )
    made: dict[str, object] = {}
    for name, part in properties.items():
        if name in value:
            made[name] = _value(f"{place}.{name}", part, value[name])
        elif part.required:
            raise ArgumentError(f"{place} needs the field {name}.")
    return made


def cedar_value(
    parameter: Parameter, value: Any, part: Part | None = None
) -> object:  # JSON of the contract's type
    """A checked argument or result field as Cedar's JSON takes it. `part`: what of an object is wanted."""
    match parameter.type:
        case "number":
            written = str(value)
            if _PLAIN.fullmatch(written) is None:
                number = decimal_of(value)
                assert number is not None
                written = f"{number.normalize():f}"
            # Cedar wants digits on both sides of the point.
            return {"__extn": {"fn": "decimal", "arg": written if "." in written else f"{written}.0"}}
        case "list":
            assert parameter.items is not None
            return [cedar_value(parameter.items, item) for item in value]
        case "object":
            return cedar_record(parameter.properties or {}, value, part)
        case _:
            return value


def cedar_record(
    parameters: Mapping[str, Parameter], values: Mapping[str, Any], part: Part | None = None
) -> dict[str, object]:
    """Checked values as a record of Cedar's. `part`: which of them are wanted, and what of each; None: all."""
    return {
        name: cedar_value(parameters[name], value, None if part is None else part[name])
        for name, value in values.items()
        if part is None or name in part
    }
