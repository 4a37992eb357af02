"""Text to the terms that keyword ranking counts: the same on hub and device, for any Unicode. Pure.

* Folding: compatibility forms (NFKC, UAX #15), case, the accents of Latin, Greek and Cyrillic letters, and every
  character that is not drawn (zero-width, soft hyphen, bidi controls: category Cf) make no difference.
* Words of ASCII letters are stemmed by Snowball's English stemmer (Porter 2). Words of other letters stay as they
  are.
* What is joined by punctuation, by case or by a change between letters and digits counts whole and by part, and the
  whole without its joints: `part_no`, `PartNo` and `part-no` all are `partno`, `part`, `no`; `AB-12/3` is `ab123`,
  `ab`, `12`, `3`; a whole of digits keeps its points, so that version `1.2.3` is not the number 123.
* Scripts that are written without spaces, and Hangul, whose words carry their particles, become overlapping bigrams.

    terms("The pumps' part_no is AB-12") == ["the", "pump", "partno", "part", "no", "is", "ab12", "ab", "12"]

Two Python versions agree on every character that the older one's Unicode tables know. Changing what comes out here
changes `TERMS_VERSION`, and every stored posting has to be made anew.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from itertools import chain
from typing import Final

import snowballstemmer

TERMS_VERSION: Final = 1
TERM_MAX_CHARS: Final = 64
"""A longer word (a key, a long URL) is cut here: its beginning finds it."""
CACHE_MAX_WORDS: Final = 30_000
"""Words as written whose terms are remembered, and as many stems: at most about 12 MB."""
CACHED_WORD_MAX_CHARS: Final = 64
STEM_MIN_CHARS: Final = 3

_JOINTS: Final = "-_./:@&\\'"
"""Between letters or digits these join; anywhere else they separate, like all other punctuation."""
_SPELLINGS: Final = {0x2010: "-", 0x2011: "-", 0x00AD: None, 0x2019: "'", 0x02BC: "'", 0xFF07: "'"}
_PLAIN: Final = str.maketrans(
    {chr(code): " " for code in range(128) if not chr(code).isalnum() and chr(code) not in _JOINTS + "+#,"}
)
_UNSPACED: Final = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\ua9e0-\ua9ff\uaa60-\uaa7f"  # Thai, Lao, Myanmar, Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff"  # kana, Han
    "\uac00-\ud7a3"  # Hangul
)
_PIECE: Final = re.compile(rf"(?P<unspaced>[{_UNSPACED}]+)|[^{_UNSPACED}]+")
_JOINT: Final = re.compile(r"[-_./:@&\\'+#,]+")
_WORD: Final = re.compile(r"[^\s\-_./:@&\\'+#,]+(?:[-_./:@&\\'+#,]+[^\s\-_./:@&\\'+#,]+)*(?:\+\+|#)?")
_THOUSANDS: Final = re.compile(r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9,])")
_PROGRAMMING_LANGUAGE: Final = re.compile(r"([A-Za-z])(\+\+|#)[^A-Za-z0-9+#]*")
_ASCII_PART: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
"""`XMLParser2` is XML, Parser, 2."""
_PART: Final = re.compile(r"\d+|\D+")
"""Words beyond ASCII are not split by case: they are rarely identifiers."""


def terms(text: str) -> list[str]:
    """The terms of a text in order. A compound's whole comes before its parts."""
    return list(chain.from_iterable(map(_terms_of_word, _WORD.findall(_fold(text)))))


def _fold(text: str) -> str:
    """Everything that separates words becomes a space. Case stays: it shows where identifiers have their joints."""
    if text.isascii():
        return text.translate(_PLAIN)
    composed = unicodedata.normalize("NFKD", text.translate(_SPELLINGS)).translate(_FOLDED)
    return unicodedata.normalize("NFKC", composed)


class _Folded(dict[int, str | None]):
    """What becomes of a character of decomposed text. Bounded by the number of characters there are."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        category = unicodedata.category(character)
        folded: str | None
        if 0x300 <= code <= 0x36F or category == "Cf":
            folded = None  # accents of Latin, Greek and Cyrillic; marks of other scripts are letters to their readers
        elif category == "Nd":
            folded = str(unicodedata.decimal(character))
        elif category[0] in "LNM" or character in _JOINTS + "+#,":
            folded = character
        else:
            folded = " "
        self[code] = folded
        return folded


_FOLDED: Final = _Folded()


def _terms_of_word(word: str) -> tuple[str, ...]:
    return _cached_terms(word) if len(word) <= CACHED_WORD_MAX_CHARS else _expand(word)


@lru_cache(maxsize=CACHE_MAX_WORDS)
def _cached_terms(word: str) -> tuple[str, ...]:
    return _expand(word)


def _expand(word: str) -> tuple[str, ...]:
    if word.isascii() and word.isalpha() and (word.islower() or word[1:].islower()):
        return (_stem(word.lower()[:TERM_MAX_CHARS]),)
    return tuple(chain.from_iterable(_expand_piece(match) for match in _PIECE.finditer(word)))


def _expand_piece(match: re.Match[str]) -> Iterable[str]:
    piece = match.group()
    if match["unspaced"]:
        return _bigrams(piece)
    language = _PROGRAMMING_LANGUAGE.fullmatch(piece)
    if language is not None:
        return (language[1].lower() + language[2],)
    piece = _THOUSANDS.sub(lambda number: number.group().replace(",", ""), piece)
    return chain.from_iterable(map(_expand_compound, piece.split(",")))


def _bigrams(run: str) -> Iterable[str]:
    if len(run) == 1:
        return (run,)
    return (run[at : at + 2] for at in range(len(run) - 1))


def _expand_compound(compound: str) -> Iterable[str]:
    joined = [part for part in _JOINT.split(compound) if part]
    if len(joined) > 1 and joined[-1] == "s" and compound.endswith("'s"):
        joined.pop()  # the pump's
        compound = compound[:-2]
    if not joined:
        return ()
    pattern = _ASCII_PART if compound.isascii() else _PART
    parts = [part for piece in joined for part in pattern.findall(piece)]
    if len(parts) == 1:
        return (_plain(parts[0]),)
    whole = (
        ".".join(joined)
        if all(piece.isdecimal() for piece in joined) and "." in compound
        else "".join(joined)
    )
    if "'" in compound and whole.isalpha():
        return (_plain(whole),)  # don't, O'Brien: their parts mean nothing
    return (_plain(whole), *map(_plain, parts))


def _plain(word: str) -> str:
    # Case folding may decompose again (NFKC_Casefold of the Unicode standard).
    folded = word.lower() if word.isascii() else unicodedata.normalize("NFKC", word.casefold())
    return _stem(folded[:TERM_MAX_CHARS])


def _stem(word: str) -> str:
    if len(word) < STEM_MIN_CHARS or not (word.isascii() and word.isalpha()):
        return word
    return _cached_stem(word)


@lru_cache(maxsize=CACHE_MAX_WORDS)
def _cached_stem(word: str) -> str:
    stemmed: str = _STEMMER.stemWord(word)
    return stemmed


_STEMMER: Final = snowballstemmer.stemmer("english")
