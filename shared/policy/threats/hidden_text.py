"""Text that a person does not see, or sees as something else, while a model reads it. Pure; linear in the text.

Sources: UTR #36 and UTS #39 (security of Unicode), UAX #9 (bidirectional text), CVE-2021-42574 ("Trojan Source"), tag
characters and variation selectors as carriers of smuggled instructions. Ordinary uses are told apart by where they
stand: a joiner between emoji, a non-joiner between Persian letters, a directional mark beside Hebrew or Arabic.
"""

import re
import unicodedata
from typing import Final

from shared.policy.folding import folded_character
from shared.policy.threats.finding import Finding, Severity, shown

TAGS_MIN: Final = 3
INVISIBLE_MEDIUM_MIN: Final = 4
"""One soft hyphen or zero-width space is a web page's habit; that many within words are not."""
INVISIBLE_BITS_MIN: Final = 16
"""Invisible characters in a row: long enough for a word in binary."""
SELECTORS_MIN: Final = 2
"""Variation selectors in a row. One after its character is how emoji are written."""

_TAGS: Final = re.compile("[\U000e0000-\U000e007f]+")
_FLAG: Final = re.compile("\U0001f3f4[\U000e0020-\U000e007e]{2,7}\U000e007f")
"""Flags of regions (UTS #51, ED-14a): England, Scotland, Wales. The one ordinary use of tags."""
_SELECTORS: Final = re.compile(f"[\ufe00-\ufe0f\U000e0100-\U000e01ef]{{{SELECTORS_MIN},}}")
_BIDI_CONTROL: Final = re.compile("[\u202a-\u202e\u2066-\u2069]")
_OVERRIDE: Final = re.compile("[\u202d\u202e]")
_INVISIBLE: Final = re.compile(
    "[\u00ad\u034f\u115f\u1160\u180e\u200b-\u200f\u2060-\u2064\u206a-\u206f\u3164\ufeff\uffa0]+"
)
_RIGHT_TO_LEFT: Final = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_JOINING: Final = re.compile(
    "[\u0600-\u08ff\u0900-\u0dff\u1000-\u109f\u1780-\u18af\ufb50-\ufdff\ufe70-\ufefc]"
)
"""Arabic script and the scripts of India and its neighbours: there both joiners are spelling (UAX #31, section 2.3)."""
_EMOJI: Final = re.compile("[\u00a9\u00ae\u203c-\u3299\ufe0f\U0001f000-\U0001faff]")
_WORD: Final = re.compile(r"[^\W\d_]+")
_ORDINARY_MIXES: Final = frozenset({frozenset({"LATIN", "CJK"}), frozenset({"LATIN", "HANGUL"})})
_LOOKALIKE_SCRIPTS: Final = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN")


def hidden_text(text: str) -> tuple[Finding, ...]:
    """At most one finding for each way of hiding. Spans and counts are in characters of `text`. Never raises."""
    if text.isascii():
        return ()
    found = (_tags(text), _selectors(text), _bidirectional(text), _invisible(text), _mixed_scripts(text))
    return tuple(finding for finding in found if finding is not None)


def _finding(kind: str, severity: Severity, sentence: str, **evidence: str | int | float) -> Finding:
    return Finding(
        detector="hidden_text", severity=severity, evidence={"kind": kind, **evidence}, sentence=sentence
    )


def _tags(text: str) -> Finding | None:
    without_flags = _FLAG.sub(lambda match: " " * len(match.group()), text)
    runs = list(_TAGS.finditer(without_flags))
    count = sum(len(run.group()) for run in runs)
    if not count:
        return None
    hidden = "".join(chr(ord(tag) - 0xE0000) for run in runs for tag in run.group())
    return _finding(
        "tags", "high" if count >= TAGS_MIN else "medium",
        f"The text holds {count} tag characters, which nobody sees and a model reads.",
        start=runs[0].start(), characters=count, hidden=shown(hidden),
    )  # fmt: skip


def _selectors(text: str) -> Finding | None:
    runs = list(_SELECTORS.finditer(text))
    if not runs:
        return None
    data = bytes(_selected_byte(selector) for run in runs for selector in run.group())
    return _finding(
        "variation_selectors", "high" if len(data) >= INVISIBLE_MEDIUM_MIN else "medium",
        f"The text holds {len(data)} variation selectors in a row, which can carry bytes unseen.",
        start=runs[0].start(), characters=len(data), hidden=shown(data.decode("utf-8", "replace")),
    )  # fmt: skip


def _selected_byte(selector: str) -> int:
    """VS1 to VS16 stand for 0 to 15, VS17 to VS256 for 16 to 255: the usual way to smuggle bytes."""
    code = ord(selector)
    return code - 0xFE00 if code < 0xE0000 else code - 0xE0100 + 16


def _bidirectional(text: str) -> Finding | None:
    controls = list(_BIDI_CONTROL.finditer(text))
    if not controls:
        return None
    is_overriding = _OVERRIDE.search(text) is not None
    # Isolates and embeddings belong to text that runs both ways; an override, or one left open, changes what is read.
    depth = 0
    for control in controls:
        depth += -1 if control.group() in "\u202c\u2069" else 1
    severity: Severity = "low"
    if is_overriding or not _RIGHT_TO_LEFT.search(text):
        severity = "high"
    elif depth:
        severity = "medium"
    return _finding(
        "bidirectional", severity, f"The text holds {len(controls)} controls that change the order it is read in.",
        start=controls[0].start(), characters=len(controls), without=shown(_BIDI_CONTROL.sub("", text)),
    )  # fmt: skip


def _invisible(text: str) -> Finding | None:
    count = within_words = longest = 0
    first = -1
    bits = ""
    for run in _INVISIBLE.finditer(text):
        start, end = run.span()
        before, after = text[start - 1 : start], text[end : end + 1]
        if _is_ordinary(run.group(), before, after, is_start=start == 0):
            continue
        first = start if first < 0 else first
        count += end - start
        if len(run.group()) > longest:
            longest, bits = len(run.group()), run.group()
        within_words += (end - start) if before.isalnum() and after.isalnum() else 0
    if not count:
        return None
    severity: Severity = "low"
    if longest >= INVISIBLE_BITS_MIN:
        severity = "high"
    elif within_words >= INVISIBLE_MEDIUM_MIN:
        severity = "medium"
    return _finding(
        "invisible", severity, f"The text holds {count} invisible characters.",
        start=first, characters=count, within_words=within_words, hidden=shown(_from_bits(bits)),
    )  # fmt: skip


def _is_ordinary(run: str, before: str, after: str, *, is_start: bool) -> bool:
    if len(run) > 2:
        return False
    if is_start and run == "\ufeff":
        return True
    if run in ("\u200c", "\u200d"):
        is_spelling = bool(_JOINING.match(before) or _JOINING.match(after))
        return is_spelling or bool(_EMOJI.match(before) and _EMOJI.match(after))
    if set(run) <= {"\u200e", "\u200f"}:
        # A mark stands where directions meet, which may be at a digit or a full stop beside the letters.
        return bool(_RIGHT_TO_LEFT.match(before) or _RIGHT_TO_LEFT.match(after)) or not (
            before.isalpha() and after.isalpha()
        )
    return False


def _from_bits(run: str) -> str:
    """The text in a run of two kinds of characters, the first of them read as 0, then as 1; "" if it is none."""
    kinds = sorted(set(run))
    if len(kinds) != 2 or len(run) < INVISIBLE_BITS_MIN:
        return ""
    for zero in kinds:
        bits = "".join("0" if kind == zero else "1" for kind in run)
        data = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) - 7, 8))
        if all(0x20 <= byte < 0x7F for byte in data):
            return data.decode("ascii")
    return ""


def _mixed_scripts(text: str) -> Finding | None:
    """Words in which letters of another script stand for Latin ones (UTS #39, section 5)."""
    words = []
    first = -1
    scripts: dict[str, str] = {}
    for match in _WORD.finditer(text):
        word = match.group()
        if word.isascii():
            continue
        kinds = set()
        for letter in word:
            kind = scripts.get(letter)
            if kind is None:
                kind = scripts[letter] = _script(letter)
            kinds.add(kind)
        kinds.discard("")
        if len(kinds) < 2 or kinds in _ORDINARY_MIXES:
            continue
        skeleton = "".join(folded_character(letter) for letter in word)
        # "kΩ" and "βeta" are mixes too; only what then reads as a Latin word deceives.
        if "LATIN" in kinds and len(word) > 2 and skeleton.isascii():
            first = match.start() if first < 0 else first
            words.append((word, skeleton))
    if not words:
        return None
    return _finding(
        "mixed_scripts", "medium" if len(words) < INVISIBLE_MEDIUM_MIN else "high",
        f"{len(words)} words mix letters of several scripts that look alike.",
        start=first, words=len(words), word=shown(words[0][0]), reads_as=shown(words[0][1]),
    )  # fmt: skip


def _script(letter: str) -> str:
    """For scripts that look alike the first word of the character's name, which is the script; "" for all others."""
    if letter.isascii():
        return "LATIN"
    name = unicodedata.name(letter, "").partition(" ")[0]
    return name if name in (*_LOOKALIKE_SCRIPTS, "CJK", "HANGUL") else ""
