"""Finding and covering the values of secrets in what tools, models and people produced. Pure.

A value is looked for as it stands and in the forms that text takes on its way: JSON-escaped (also twice, and as Go
does), HTML-escaped, as Python shows it, URL-encoded, in hexadecimal, and in base64 wherever it begins within what was
encoded. What was cut up, reversed or encrypted is not found: this keeps secrets out of records by accident, not against
a tool that wants to tell them.

How it stays cheap: a form of at least `2 * w - 1` bytes, wherever it lies, holds one whole window of `w` bytes that
begins at a multiple of `w`. Text is therefore read as machine words (of 8 bytes, and of 4 if a form is shorter than
15), each looked up in one set; only where a word is in it are forms compared. So it takes the same time for one secret
as for fifty.

    scrubber = Scrubber({"POS_TOKEN": "s3cr3t-value"})
    assert scrubber.text("token=s3cr3t-value") == "token=[secret POS_TOKEN]"
"""

import base64
import json
import sys
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import quote, quote_plus

_WordFormat = Literal["Q", "I"]

WIDTHS: Final[tuple[tuple[int, _WordFormat], ...]] = ((8, "Q"), (4, "I"))
"""Windows in bytes, widest first, and what `struct` calls a word of that size."""
FORM_MIN_BYTES: Final = 2 * WIDTHS[-1][0] - 1
LINE_MIN_CHARS: Final = 16
"""Each line so long of a value of several lines (a private key) is a secret of its own."""
ARMOUR: Final = "-----"
"""Lines that begin like this say what kind of key follows, and are the same in all of them."""
GO_ESCAPES: Final = {ord(character): f"\\u{ord(character):04x}" for character in "&<>\u2028\u2029"}
"""What Go's encoding/json escapes beyond what JSON demands."""

_Span = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class _Windows:
    """The words of one width that occur in forms, and where in which."""

    width: int
    format: _WordFormat
    words: frozenset[int]
    places: Mapping[int, Sequence[tuple[bytes, int]]]


class Scrubber:
    """The forms of some secrets, ready to be looked for. Immutable; make another one when a secret changes."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        """`secrets`: values by name, each of at least `FORM_MIN_BYTES`."""
        names: dict[bytes, str] = {}
        for name, value in secrets.items():
            for form in forms_of(value):
                names.setdefault(form, name)
        if any(len(form) < FORM_MIN_BYTES for form in names):
            raise ValueError(f"a secret has at least {FORM_MIN_BYTES} bytes")
        self._names = names
        self._forms = sorted(names)
        self._first = frozenset(form[0] for form in names)
        self._longest = max(map(len, names), default=0)
        self._windows = _windows_of(names)

    def __bool__(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self._names)

    def text(self, text: str) -> str:
        """`text` with every value covered; the same object if it holds none."""
        if not self._names:
            return text
        data = text.encode("utf-8", "surrogatepass")
        spans = self._spans(data)
        return text if not spans else _covered(data, spans).decode("utf-8", "surrogatepass")

    def data(self, data: bytes) -> bytes:
        """As `text`, for bytes."""
        if not self._names:
            return data
        spans = self._spans(data)
        return data if not spans else _covered(data, spans)

    def value(self, value: object) -> object:
        """A value of plain JSON with every string, key and number covered; the same object if it holds none."""
        if not self._names or not self._may_hold(value):
            return value
        return self._walk(value)

    def stream(self) -> "StreamScrubber":
        """For text that comes in pieces."""
        return StreamScrubber(self)

    def _may_hold(self, value: object) -> bool:
        try:
            data = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
        except (TypeError, ValueError, RecursionError):
            return True  # whoever keeps it will find that it is no plain JSON
        return bool(self._spans(data))

    def _walk(self, value: object) -> object:
        match value:
            case str():
                return self.text(value)
            case bool() | None:
                return value
            case int() | float():
                shown = str(value)
                covered = self.text(shown)
                return value if covered is shown else covered
            case dict():
                return {
                    self.text(key) if isinstance(key, str) else key: self._walk(item)
                    for key, item in value.items()
                }
            case list() | tuple():
                return [self._walk(item) for item in value]
            case _:
                return value

    def _spans(self, data: bytes) -> list[_Span]:
        """Where forms stand, in order; what overlaps is one span."""
        found: set[tuple[int, bytes]] = set()
        for windows in self._windows:
            whole = len(data) - len(data) % windows.width
            words = memoryview(data)[:whole].cast(windows.format)
            if windows.words.isdisjoint(words):
                continue
            for index, word in enumerate(words):
                for form, offset in windows.places.get(word, ()):
                    begin = index * windows.width - offset
                    if begin >= 0 and data.startswith(form, begin):
                        found.add((begin, form))
        spans: list[_Span] = []
        for begin, form in sorted(found, key=lambda item: (item[0], -len(item[1]))):
            end = begin + len(form)
            if spans and begin < spans[-1][1]:
                spans[-1] = (spans[-1][0], max(end, spans[-1][1]), spans[-1][2])
            else:
                spans.append((begin, end, self._names[form]))
        return spans

    def _open_from(self, data: bytes) -> int:
        """Where the longest end of `data` begins that a form may go on from; its length if there is none."""
        for begin in range(max(0, len(data) - self._longest + 1), len(data)):
            if data[begin] not in self._first:
                continue
            rest = data[begin:]
            at = bisect_left(self._forms, rest)
            if at < len(self._forms) and self._forms[at].startswith(rest):
                return begin
        return len(data)


class StreamScrubber:
    """Text in pieces: what may be the beginning of a secret waits for the piece that tells."""

    def __init__(self, scrubber: Scrubber) -> None:
        self._scrubber = scrubber
        self._held = b""

    def feed(self, text: str) -> str:
        """What of the text so far may be shown; it may be empty."""
        if not self._scrubber:
            return text
        data = self._held + text.encode("utf-8", "surrogatepass")
        spans = self._scrubber._spans(data)
        until = self._scrubber._open_from(data)
        if spans and until < spans[-1][1]:
            until = len(data) if spans[-1][1] == len(data) else spans[-1][1]
        self._held = data[until:]
        return _covered(data[:until], spans).decode("utf-8", "surrogatepass")

    def finish(self) -> str:
        """The rest: nothing follows."""
        held, self._held = self._held, b""
        return held.decode("utf-8", "surrogatepass")


def _windows_of(forms: Iterable[bytes]) -> tuple[_Windows, ...]:
    left = set(forms)
    made: list[_Windows] = []
    for width, word_format in WIDTHS:
        fitting = {form for form in left if len(form) >= 2 * width - 1}
        left -= fitting
        places: dict[int, list[tuple[bytes, int]]] = {}
        for form in fitting:
            for offset in range(len(form) - width + 1):
                word = int.from_bytes(form[offset : offset + width], sys.byteorder)
                places.setdefault(word, []).append((form, offset))
        if places:
            made.append(_Windows(width, word_format, frozenset(places), places))
    return tuple(made)


def forms_of(value: str) -> frozenset[bytes]:
    """Everything as which a value (and each long line of it) may appear."""
    parts = {value}
    if "\n" in value:
        lines = (line.strip() for line in value.splitlines())
        parts |= {line for line in lines if len(line) >= LINE_MIN_CHARS and not line.startswith(ARMOUR)}
    return frozenset(form for part in parts for form in _forms_of_text(part))


def _forms_of_text(value: str) -> Iterable[bytes]:
    import html  # its tables are large, and a device without secrets has no use for them

    data = value.encode()
    yield data
    for is_ascii in (True, False):
        plain = json.dumps(value, ensure_ascii=is_ascii)[1:-1]
        for once in (plain, plain.translate(GO_ESCAPES)):
            yield once.encode()
            yield json.dumps(once, ensure_ascii=is_ascii)[1:-1].encode()
    for escaped in (html.escape(value), html.escape(value, quote=False)):
        yield escaped.encode()
        yield escaped.replace("&quot;", "&#34;").replace("&#x27;", "&#39;").encode()  # as Go and others do
    yield repr(value)[1:-1].encode()
    yield repr(data)[2:-1].encode()
    for quoted in (quote(value, safe=""), quote(value), quote_plus(value)):
        yield quoted.encode()
        yield _lower_escapes(quoted).encode()
    yield data.hex().encode()
    yield data.hex().upper().encode()
    yield from _base64_forms(data)


def _base64_forms(data: bytes) -> Iterable[bytes]:
    """What of the base64 of anything around `data` depends on `data` alone: it may begin at three places."""
    for before in range(3):
        first = -(-before * 8 // 6)
        last = (before + len(data)) * 8 // 6
        for encoded in (base64.b64encode, base64.urlsafe_b64encode):
            yield encoded(bytes(before) + data)[first:last]


def _lower_escapes(quoted: str) -> str:
    head, *rest = quoted.split("%")
    return "".join([head, *(f"%{part[:2].lower()}{part[2:]}" for part in rest)])


def _covered(data: bytes, spans: Iterable[_Span]) -> bytes:
    parts: list[bytes] = []
    at = 0
    for begin, end, name in spans:
        parts += [data[at:begin], f"[secret {name}]".encode()]
        at = end
    parts.append(data[at:])
    return b"".join(parts)
