"""Desired and reported settings as JSON documents: merging, differences, bounds, one form of bytes (rule P22). Pure.

A document is a JSON object. Changes are JSON merge patches (RFC 7396): a null deletes, objects are merged, everything
else, arrays too, is replaced. A layer (fleet, site, group, device) is itself such a patch upon the wider ones, so it
may hold nulls; what the layers come to, and what a device reports, holds none. RFC 7396 cannot say "set to null", so
null is never a value, not within arrays either.

    desired = merged([{"log_level": "info", "hello_interval_s": 60}, {"hello_interval_s": None}])
    assert desired == {"log_level": "info"}
    assert merge(before, difference(before, after)) == after
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Final, Never, TypeAlias, cast

from shared.errors import CapacityError, ProtocolError

Document: TypeAlias = dict[str, object]

LAYER_MAX_BYTES: Final = 8_192
"""Canonical JSON of one layer."""
LAYERS: Final = 4
DOCUMENT_MAX_BYTES: Final = LAYERS * LAYER_MAX_BYTES
"""What the layers come to."""
REPORT_MAX_BYTES: Final = DOCUMENT_MAX_BYTES + LAYER_MAX_BYTES
"""What a device reports: all of what is desired, and its own settings."""
MAX_DEPTH: Final = 8
"""Objects and arrays within one another, the document itself included."""
MAX_INTEGER: Final = 2**53 - 1
"""Larger ones do not survive every JSON reader (RFC 7493, section 2.2)."""
KEY_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
"""No dot, so that `a.b` names one path; printable, so that it can stand in a record and on a page."""

_KEY: Final = re.compile(KEY_PATTERN)
# U+0000 cannot be stored by every database; half of a surrogate pair is no character.
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


def merge(document: Document, patch: Document) -> Document:
    """`document` after the patch (RFC 7396, section 2). Neither is changed; the result may share parts with both."""
    merged_document = dict(document)
    for key, value in patch.items():
        if value is None:
            merged_document.pop(key, None)
        elif isinstance(value, dict):
            inner = merged_document.get(key)
            merged_document[key] = merge(inner if isinstance(inner, dict) else {}, value)
        else:
            merged_document[key] = value
    return merged_document


def merged(layers: Iterable[Document]) -> Document:
    """What layers come to, from the widest to the narrowest. It holds no null."""
    document: Document = {}
    for layer in layers:
        document = merge(document, layer)
    return document


def difference(before: Document, after: Document) -> Document:
    """The merge patch that turns `before` into `after`, empty if they are the same. Both must be free of nulls."""
    patch: Document = dict.fromkeys(key for key in before if key not in after)
    for key, value in after.items():
        old = before.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            if inner := difference(old, value):
                patch[key] = inner
        elif key not in before or not is_same(old, value):
            patch[key] = value
    return patch


def unmet(desired: Document, reported: Document) -> Document:
    """The part of `desired` that is not in `reported`. What is reported beyond it (defaults) does not count."""
    return difference(reported, merge(reported, desired))


def is_same(one: object, other: object) -> bool:
    """Whether two values are the same JSON: 1 and 1.0 are, true and 1 (to Python the same) are not."""
    return _text(one) == _text(other)


def canonical(document: Document) -> bytes:
    """The form that is hashed and sent: sorted keys, no spaces, UTF-8, whole numbers without a fraction."""
    return _text(document).encode()


def digest(document: Document) -> bytes:
    """SHA-256 of the canonical form."""
    return hashlib.sha256(canonical(document)).digest()


def parse(data: bytes, *, max_bytes: int = DOCUMENT_MAX_BYTES) -> Document:
    """A document or a patch that the other side made. Raises `ProtocolError` or `CapacityError` as `check` does."""
    if len(data) > max_bytes:
        raise _too_large(len(data), max_bytes)
    try:
        value = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _invalid("is not JSON") from error
    if not isinstance(value, dict):
        raise _invalid("is not a JSON object")
    document = cast("Document", value)
    check(document, max_bytes=max_bytes)
    return document


def check(document: Document, *, max_bytes: int = LAYER_MAX_BYTES) -> None:
    """Refuse what could not be kept, sent or read everywhere. Nulls stand as they are, but not within arrays.

    Raises `ProtocolError` (code `document_invalid`) and `CapacityError` (code `document_too_large`).
    """
    _check_object(cast("Mapping[object, object]", document), place="", depth=1, in_array=False)
    size = len(canonical(document))
    if size > max_bytes:
        raise _too_large(size, max_bytes)


def _check_object(document: Mapping[object, object], *, place: str, depth: int, in_array: bool) -> None:
    for key, value in document.items():
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise _invalid(
                f"has the key {str(key)[:80]!r} {_at(place)}; keys are letters, digits, dashes and underscores,"
                " at most 64"
            )
        if value is not None or in_array:
            _check_value(value, place=f"{place}.{key}" if place else key, depth=depth, in_array=in_array)


def _check_value(value: object, *, place: str, depth: int, in_array: bool) -> None:
    match value:
        case bool():
            pass
        case int():
            if abs(value) > MAX_INTEGER:
                raise _invalid(f"has an integer beyond 2^53 {_at(place)}")
        case float():
            if not math.isfinite(value):
                raise _invalid(f"has a number that is not finite {_at(place)}")
        case str():
            if _UNSTORABLE.search(value):
                raise _invalid(f"has text {_at(place)} that is not storable as UTF-8")
        case dict() | list() if depth == MAX_DEPTH:
            raise _invalid(f"is deeper than {MAX_DEPTH} levels {_at(place)}")
        case dict():
            _check_object(value, place=place, depth=depth + 1, in_array=in_array)
        case list():
            for item in value:
                _check_value(item, place=place, depth=depth + 1, in_array=True)
        case None:
            raise _invalid(f"has a null within the array {_at(place)}; null only deletes a key")
        case _:
            raise _invalid(f"has something {_at(place)} that is not JSON")


def _text(value: object) -> str:
    whole = _with_whole_numbers(value)
    return json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _with_whole_numbers(value: object) -> object:
    """JSON knows one kind of number; a device that keeps 60 as 60.0 runs what was desired."""
    match value:
        case float() if value.is_integer() and abs(value) <= MAX_INTEGER:
            return int(value)
        case dict():
            return {key: _with_whole_numbers(item) for key, item in value.items()}
        case list():
            return [_with_whole_numbers(item) for item in value]
    return value


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")


def _at(place: str) -> str:
    return f"at {place[:120]}" if place else "at the top"


def _invalid(what: str) -> ProtocolError:
    return ProtocolError(f"The settings document {what}.", code="document_invalid")


def _too_large(size: int, max_bytes: int) -> CapacityError:
    return CapacityError(
        f"The settings document takes {size} bytes; at most {max_bytes} are allowed.",
        bound={LAYER_MAX_BYTES: "LAYER_MAX_BYTES", DOCUMENT_MAX_BYTES: "DOCUMENT_MAX_BYTES"}.get(
            max_bytes, "REPORT_MAX_BYTES"
        ),
        limit=max_bytes,
        code="document_too_large",
    )
