"""Encoded or dense data in what a call carries away. Pure; linear in the value, which is bounded.

An address that is opened, a comment that is written, a file name: each can carry a prompt, a key or a person's data out
in base64, base32, hex or percent-encoding, or under ROT13. What decodes to text is strong evidence; what is merely
dense is weak. Hashes, UUIDs, git ids and ids of records are dense and ordinary.
"""

import base64
import binascii
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from shared.policy.threats.finding import Finding, Severity, shown

BLOB_MIN_CHARS: Final = 24
DENSE_MIN_CHARS: Final = 48
DENSE_MIN_BITS: Final = 4.3
"""Shannon entropy a character. English has about 4.1 with its spaces, base64 of random bytes up to 6."""
PERCENT_MIN: Final = 8
"""Escaped bytes in a row: more than a few letters with accents."""
TEXT_MIN_SHARE: Final = 0.9
"""Of the decoded bytes, printable."""
QUERY_MAX_CHARS: Final = 256
"""More than that after the `?` of an address is more than most searches."""
DECODED_MAX_CHARS: Final = 8_192
FINDINGS_MAX: Final = 16
VALUE_MAX_DEPTH: Final = 32
VALUE_MAX_NODES: Final = 20_000
VALUE_MAX_CHARS: Final = 262_144
"""Of all strings and keys together."""

_ORDINARY: Final = re.compile(
    r"(?:[0-9a-fA-F]{32}|[0-9a-fA-F]{40}|[0-9a-fA-F]{56}|[0-9a-fA-F]{64}|[0-9a-fA-F]{96}|[0-9a-fA-F]{128}"  # digests
    r"|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"
)
_BASE64: Final = re.compile(rf"(?<![0-9A-Za-z+/_-])[0-9A-Za-z+/_-]{{{BLOB_MIN_CHARS},}}={{0,2}}")
_HEX: Final = re.compile(rf"(?:[0-9a-fA-F]{{2}}){{{BLOB_MIN_CHARS // 2},}}")
_BASE32: Final = re.compile(rf"[A-Z2-7]{{{BLOB_MIN_CHARS},}}={{0,6}}")
_PERCENT: Final = re.compile(rf"(?:%[0-9A-Fa-f]{{2}}){{{PERCENT_MIN},}}")
_QUERY: Final = re.compile(r"https?://[^\s?#]{1,256}\?([^\s#]+)", re.IGNORECASE)
_ROT13: Final = str.maketrans(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "nopqrstuvwxyzabcdefghijklmNOPQRSTUVWXYZABCDEFGHIJKLM",
)
_WORD: Final = re.compile(r"[a-z]{2,}")
_COMMON_TEXT: Final = """
the and that have for not with you this but from they are was your all password secret key of to in is it der die und
ist nicht les est que para
"""
_COMMON: Final = frozenset(_COMMON_TEXT.split())
ROT13_MIN_WORDS: Final = 6
_WORDLIKE: Final = re.compile(r"[A-Za-z]+(?:[/_-][A-Za-z0-9]+)*")


def encoded_payload(value: object) -> tuple[Finding, ...]:
    """Of the arguments of an outgoing call, any JSON-like value: at most `FINDINGS_MAX`, the first of them.

    `where` in the evidence is a JSON Pointer (RFC 6901). Beyond `VALUE_MAX_DEPTH`, `VALUE_MAX_NODES` and
    `VALUE_MAX_CHARS` nothing is read, and that is a finding too. Never raises.
    """
    findings: list[Finding] = []
    chars = 0
    for path, text in _strings(value, "", 0, [VALUE_MAX_NODES]):
        chars += 0 if text is None else len(text)
        if text is None or chars > VALUE_MAX_CHARS:
            findings.append(
                _finding("unread", "medium", path, "The arguments are too large to be read.", "", 0)
            )
            break
        findings.extend(_in_text(text, path))
        if len(findings) >= FINDINGS_MAX:
            break
    return tuple(findings[:FINDINGS_MAX])


def _finding(kind: str, severity: Severity, path: str, sentence: str, preview: str, size: int) -> Finding:
    evidence: dict[str, str | int | float] = {
        "kind": kind,
        "where": shown(path),
        "characters": size,
        "preview": shown(preview),
    }
    return Finding(detector="encoded_payload", severity=severity, evidence=evidence, sentence=sentence)


def _in_text(text: str, path: str) -> Iterator[Finding]:
    for match in _PERCENT.finditer(text):
        data = unquote_to_bytes(match.group()[:DECODED_MAX_CHARS])
        # Languages with other letters than Latin ones need escapes for every letter of an address.
        is_plain = all(byte < 0x80 for byte in data)
        yield _finding(
            "percent", "medium" if is_plain else "low", path,
            "A part that needs no percent-encoding is encoded." if is_plain else "A part is percent-encoded.",
            data.decode("utf-8", "replace"), len(match.group()),
        )  # fmt: skip
    for match in _BASE64.finditer(text):
        found = _blob(match.group(), path)
        if found is not None:
            yield found
    for match in _QUERY.finditer(text):
        if len(match[1]) > QUERY_MAX_CHARS:
            yield _finding(
                "query", "medium", path, f"An address carries {len(match[1])} characters of query.",
                unquote_to_bytes(match[1][:DECODED_MAX_CHARS]).decode("utf-8", "replace"), len(match[1]),
            )  # fmt: skip
    turned = _rotated(text[:DECODED_MAX_CHARS])
    if turned:
        yield _finding("rot13", "medium", path, "The text is readable after ROT13.", turned, len(text))


def _blob(blob: str, path: str) -> Finding | None:
    # In the path of an address the slash is no digit of base64. A digest that reads as text is none.
    pieces = [blob, *(piece for piece in blob.split("/") if BLOB_MIN_CHARS <= len(piece) < len(blob))]
    for kind, decoded in (reading for piece in pieces for reading in _readings(piece[:DECODED_MAX_CHARS])):
        if _is_text(decoded):
            return _finding(
                kind,
                "high",
                path,
                f"A part of the arguments is text in {kind}.",
                decoded.decode("utf-8", "replace"),
                len(blob),
            )
    if _ORDINARY.fullmatch(blob):
        return None
    if len(blob) >= DENSE_MIN_CHARS and not _WORDLIKE.fullmatch(blob) and _entropy(blob) >= DENSE_MIN_BITS:
        return _finding("dense", "medium", path, "A part of the arguments is dense data.", blob, len(blob))
    return None


def _readings(blob: str) -> Iterator[tuple[str, bytes]]:
    if _HEX.fullmatch(blob):
        yield "hex", bytes.fromhex(blob)
    bare = blob.rstrip("=")
    if _BASE32.fullmatch(blob):
        with_padding = bare[: len(bare) // 8 * 8]
        if with_padding:
            yield "base32", base64.b32decode(with_padding)
    # Words with dashes and paths are made of the same characters; what they decode to is no text.
    try:
        yield "base64", base64.b64decode(bare.translate(_URL_SAFE)[: len(bare) // 4 * 4], validate=True)
    except binascii.Error:
        return


_URL_SAFE: Final = str.maketrans("-_", "+/")


def _is_text(data: bytes) -> bool:
    if len(data) < BLOB_MIN_CHARS // 2:
        return False
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return False
    printable = sum(character.isprintable() or character in "\t\r\n" for character in text)
    # Random bytes that happen to be UTF-8 are rare, and rarer still are they all of one script.
    return printable >= TEXT_MIN_SHARE * len(text)


def _entropy(text: str) -> float:
    """Bits a character (Shannon 1948)."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())


def _rotated(text: str) -> str:
    words = _WORD.findall(text.lower())
    if len(words) < ROT13_MIN_WORDS:
        return ""
    turned = [word.translate(_ROT13) for word in words]
    before, after = sum(word in _COMMON for word in words), sum(word in _COMMON for word in turned)
    return text.translate(_ROT13) if after >= 2 and after >= 4 * before and after * 8 >= len(words) else ""


def _strings(value: object, path: str, depth: int, left: list[int]) -> Iterator[tuple[str, str | None]]:
    """Each string with where it is, keys too; None instead of a string where reading stops. `left` is a count down."""
    left[0] -= 1
    if depth > VALUE_MAX_DEPTH or left[0] < 0:
        yield path, None
        return
    match value:
        case str():
            yield path, value
        case Mapping():
            for key, item in value.items():
                name = str(key)
                inner = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
                yield inner, name
                yield from _strings(item, inner, depth + 1, left)
                if left[0] < 0:
                    return
        case Sequence() if not isinstance(value, bytes | bytearray | memoryview):
            for place, item in enumerate(value):
                yield from _strings(item, f"{path}/{place}", depth + 1, left)
                if left[0] < 0:
                    return
        case _:
            return
