"""Placeholders instead of personal data, and the way back. Pure; the same input gives the same placeholders.

A placeholder says the class and counts: `[email 2]`. The same characters get the same one. Numbers that the text itself
already uses (`[email 1]` written by somebody) are left out, so that `restore` is the inverse of one redaction.
Restoring hands the values to whoever wrote the placeholders: only where its result may hold them.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from shared.errors import CapacityError

VALUE_MAX_DEPTH: Final = 32
"""Objects and arrays within one another."""
VALUE_MAX_NODES: Final = 20_000
"""Strings, numbers, objects and arrays, keys too."""
VALUE_MAX_CHARS: Final = 1_048_576
"""Of all strings and keys together."""
EXACT_FLOAT_MAX: Final = 2**53
"""Up to here a float that is whole is exactly that whole number."""

_PLACEHOLDER: Final = re.compile(r"\[([a-z_]{1,16}) ([0-9]{1,6})\]")


@dataclass(frozen=True, slots=True)
class Found:
    """`start` and `end` count characters of the text that was searched."""

    cls: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class FoundAt:
    """`path` is a JSON Pointer (RFC 6901) into the redacted value, so that it names nobody.

    `start` and `end` are of the string there as it was, of the key if `is_key`, of the decimal digits of a number.
    """

    path: str
    found: Found
    is_key: bool = False


class Find(Protocol):
    def __call__(self, text: str, *, context: str = "") -> tuple[Found, ...]: ...


class Redaction:
    """What each placeholder stands for. Holds personal data: never log it, never send it."""

    def __init__(self) -> None:
        self._values: dict[str, str | int | float] = {}
        self._placeholders: dict[tuple[str, type, str | int | float], str] = {}
        self._counts: dict[str, int] = {}
        self._reserved: set[str] = set()

    def __len__(self) -> int:
        """How many values have a placeholder."""
        return len(self._values)

    def reserve(self, text: str) -> None:
        """Placeholders in this text are not ours, and are not given out from now on."""
        self._reserved.update(match.group() for match in _PLACEHOLDER.finditer(text))

    def placeholder(self, cls: str, value: str | int | float) -> str:
        """The one for this value, made if there is none yet."""
        key = (cls, type(value), value)
        known = self._placeholders.get(key)
        if known is not None:
            return known
        while True:
            count = self._counts[cls] = self._counts.get(cls, 0) + 1
            made = f"[{cls} {count}]"
            if made not in self._reserved:
                break
        self._placeholders[key] = made
        self._values[made] = value
        return made

    def restore(self, text: str) -> str:
        """Every placeholder of this redaction replaced by what it stands for, once: no value is searched again."""
        return _PLACEHOLDER.sub(lambda match: str(self._values.get(match.group(), match.group())), text)

    def restore_value(self, value: object) -> object:
        """Within strings, keys, lists and dicts; a string that is all of a number's placeholder becomes the number."""
        match value:
            case str():
                whole = self._values.get(value)
                return whole if isinstance(whole, int | float) else self.restore(value)
            case Mapping():
                return {
                    self.restore(key) if isinstance(key, str) else key: self.restore_value(item)
                    for key, item in value.items()
                }
            case list() | tuple():
                return [self.restore_value(item) for item in value]
        return value


Keep = Callable[[Found, str], bool]


def redact_text(
    find: Find, text: str, *, keep: Keep | None, into: Redaction | None, context: str = ""
) -> tuple[str, tuple[Found, ...]]:
    """See `Recogniser.redact`."""
    redaction = Redaction() if into is None else into
    redaction.reserve(text)
    parts: list[str] = []
    replaced: list[Found] = []
    at = 0
    for found in find(text, context=context):
        surface = text[found.start : found.end]
        if keep is not None and keep(found, surface):
            continue
        parts += (text[at : found.start], redaction.placeholder(found.cls, surface))
        replaced.append(found)
        at = found.end
    return "".join(parts) + text[at:], tuple(replaced)


def redact_value(
    find: Find, value: object, *, keep: Keep | None, into: Redaction | None
) -> tuple[object, tuple[FoundAt, ...]]:
    """See `Recogniser.redact_value`."""
    redaction = Redaction() if into is None else into
    chars = 0
    for nodes, text in enumerate(_strings(value, depth=0), start=1):
        chars += len(text)
        if nodes > VALUE_MAX_NODES:
            raise _too_large("VALUE_MAX_NODES", VALUE_MAX_NODES)
        if chars > VALUE_MAX_CHARS:
            raise _too_large("VALUE_MAX_CHARS", VALUE_MAX_CHARS)
        redaction.reserve(text)
    walk = _Walk(find, keep, redaction)
    return walk.redacted(value, "", ""), tuple(walk.found)


class _Walk:
    def __init__(self, find: Find, keep: Keep | None, redaction: Redaction) -> None:
        self._find, self._keep, self._redaction = find, keep, redaction
        self.found: list[FoundAt] = []

    def redacted(self, value: object, path: str, context: str) -> object:
        match value:
            case bool() | None:
                return value
            case str():
                text, found = redact_text(
                    self._find, value, keep=self._keep, into=self._redaction, context=context
                )
                self.found += [FoundAt(path, each) for each in found]
                return text
            case int() | float():
                return self._number(value, path, context)
            case Mapping():
                return dict(self._entries(value, path))
            case Sequence() if not isinstance(value, bytes | bytearray | memoryview):
                return [self.redacted(item, f"{path}/{place}", context) for place, item in enumerate(value)]
        return value

    def _entries(self, value: Mapping[object, object], path: str) -> Iterator[tuple[object, object]]:
        for key, item in value.items():
            if not isinstance(key, str):
                yield key, self.redacted(item, f"{path}/{key}", "")
                continue
            name, found = redact_text(self._find, key, keep=self._keep, into=self._redaction)
            inner = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
            self.found += [FoundAt(inner, each, is_key=True) for each in found]
            yield name, self.redacted(item, inner, key)

    def _number(self, value: int | float, path: str, context: str) -> object:
        digits = _digits(value)
        for found in self._find(digits, context=context) if digits else ():
            if self._keep is None or not self._keep(found, digits):
                self.found.append(FoundAt(path, found))
                return self._redaction.placeholder(found.cls, value)
        return value


def _digits(value: int | float) -> str:
    """The decimal digits of a whole number that could be one of a person; "" for every other number."""
    if isinstance(value, float):
        if not math.isfinite(value) or not value.is_integer() or abs(value) > EXACT_FLOAT_MAX:
            return ""
        value = int(value)
    # Fewer digits are nobody's number. Of thousands of digits Python refuses to write any (ValueError).
    return str(value) if 10**5 <= value < 10**34 else ""


def _strings(value: object, depth: int) -> Iterator[str]:
    """Each string and key, and "" for whatever else counts. Raises CapacityError beyond the depth."""
    if depth > VALUE_MAX_DEPTH:
        raise _too_large("VALUE_MAX_DEPTH", VALUE_MAX_DEPTH)
    match value:
        case str():
            yield value
        case Mapping():
            yield ""
            for key, item in value.items():
                yield key if isinstance(key, str) else ""
                yield from _strings(item, depth + 1)
        case Sequence() if not isinstance(value, bytes | bytearray | memoryview):
            yield ""
            for item in value:
                yield from _strings(item, depth + 1)
        case _:
            yield ""


def _too_large(bound: str, limit: int) -> CapacityError:
    return CapacityError(
        "The value is too large to be searched for personal data.",
        bound=bound,
        limit=limit,
        code="value_too_large",
    )
