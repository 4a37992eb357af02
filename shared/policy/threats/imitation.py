"""Text from a tool that imitates an instruction, a tool call or a turn of the conversation. Pure; linear in the text.

What a tool returns is data. Where it speaks like a system prompt, addresses the assistant or looks like an action of
ours, somebody may want it taken for one (indirect prompt injection, OWASP LLM01). Signs are weighted, and the weights
are joined as independent chances: `1 - product of (1 - weight)`. One of the stronger signs alone passes the threshold;
the weak ones, which prose also has, need one another.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from shared.policy.folding import fold
from shared.policy.threats.finding import Finding, shown
from shared.policy.threats.imitation_signs import SIGNS

IMITATION_THRESHOLD: Final = 0.6
"""From here a finding is raised. Documents about such attacks pass it too: they quote them."""
HIGH_SCORE: Final = 0.85
SIGNS_MAX: Final = 64
"""Signs that are looked at in one text; a text with more has long been found."""
ENCODED_MAX_CHARS: Final = 8_192
"""Of a text in base64, which is decoded and read once."""


@dataclass(frozen=True, slots=True)
class Sign:
    """`start` and `end` are characters of the text as it came."""

    name: str
    weight: float
    start: int
    end: int


_COMPILED: Final = tuple(
    (name, weight, re.compile(pattern, re.IGNORECASE)) for name, weight, pattern in SIGNS
)

_LEET: Final = str.maketrans("013457@$!|", "oieastasil")
_SPACED: Final = re.compile(r"(?<!\w)(?:\w[ ._*-]){5,256}\w(?!\w)")
_SQUEEZED: Final = re.compile(
    r"(?:ignore|disregard|forget|override)(?:all|any|your|the|previous|prior|above|earlier|of|my){1,5}"
    r"(?:instruction|prompt|rule|directive|guideline)|donottell(?:the)?user|ignoriere?(?:alle|die|vorherigen?|bisherigen?){1,3}"
    r"anweisung|ignore[zr]?(?:toutes|les|precedentes){1,3}instructions|ignora(?:todas|las|anteriores){1,3}instrucciones"
)
_NOT_LETTERS: Final = re.compile(r"[^a-z]+")
_BASE64: Final = re.compile(r"(?<![0-9A-Za-z+/_-])[0-9A-Za-z+/_-]{24,}={0,2}")


def imitation(text: str) -> tuple[Finding, ...]:
    """None or one finding. Its evidence: `score` in [0, 1], the strongest sign with its span, and what it says.

    Never raises. Spans are in characters of `text`.
    """
    signs = read_signs(text)
    score = scored(signs)
    if score < IMITATION_THRESHOLD:
        return ()
    strongest = max(signs, key=lambda sign: sign.weight)
    names = sorted({sign.name for sign in signs})
    return (
        Finding(
            detector="imitation",
            severity="high" if score >= HIGH_SCORE else "medium",
            evidence={
                "score": round(score, 3),
                "sign": strongest.name,
                "signs": ", ".join(names),
                "start": strongest.start,
                "end": strongest.end,
                "text": shown(text[strongest.start : strongest.end]),
            },
            sentence=f"The text reads like instructions to the agent ({', '.join(names)}).",
        ),
    )


def scored(signs: tuple[Sign, ...]) -> float:
    """In [0, 1]. A sign counts once, however often it is repeated: lists of examples are no more than an example."""
    remaining = 1.0
    for weight in {sign.name: sign.weight for sign in signs}.values():
        remaining *= 1 - weight
    return 1 - remaining


def read_signs(text: str) -> tuple[Sign, ...]:
    """Every sign with its span, in the order of the table, at most `SIGNS_MAX`."""
    folded = fold(text)
    signs: list[Sign] = []
    for name, weight, start, end in (*_in(folded.text), *_in_disguise(folded.text)):
        if len(signs) == SIGNS_MAX:
            break
        signs.append(Sign(name, weight, *folded.span(start, end)))
    return tuple(signs)


def _in(text: str) -> Iterator[tuple[str, float, int, int]]:
    # A line break within a phrase is a space to a model. One character for one, so that places stay.
    flat = text.replace("\n", " ")
    for name, weight, pattern in _COMPILED:
        searched = text if pattern.pattern.startswith("(?m") else flat
        for count, match in enumerate(pattern.finditer(searched)):
            if count == SIGNS_MAX:
                break
            yield name, weight, *match.span()


def _in_disguise(text: str) -> Iterator[tuple[str, float, int, int]]:
    plain = text.lower().translate(_LEET)
    if len(plain) == len(text) and plain != text.lower():
        for name, weight, pattern in _COMPILED:
            if name in _PHRASES:
                for match in pattern.finditer(plain):
                    if text[match.start() : match.end()].lower() != match.group():
                        yield f"{name}_leet", weight, *match.span()
    for match in _SPACED.finditer(plain):
        if _SQUEEZED.search(_NOT_LETTERS.sub("", match.group())):
            yield "spaced", 0.8, *match.span()
    for match in _BASE64.finditer(text):
        decoded = _decoded(match.group())
        if decoded and scored(tuple(Sign(name, weight, 0, 0) for name, weight, _, _ in _in(decoded))) >= 0.5:
            yield "encoded", 0.85, *match.span()


_PHRASES: Final = frozenset({"ignore", "secrecy", "secret_request"})


def _decoded(encoded: str) -> str:
    body = encoded[:ENCODED_MAX_CHARS].rstrip("=").replace("-", "+").replace("_", "/")
    try:
        data = base64.b64decode(body[: len(body) // 4 * 4], validate=True)
        return data.decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        return ""
