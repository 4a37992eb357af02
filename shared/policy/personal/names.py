"""Names of people out of a given list: whole words, whatever the case, the accents and the order. Pure.

The text is cut into words once and each word looked up, so that the time does not grow with the list.
"""

import re
from collections.abc import Collection, Iterator
from typing import Final

from shared.policy.folding import fold

NAME_MAX_WORDS: Final = 8
"""Of a longer name the first words count."""

_UNSPACED: Final = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Scripts that put no space between words, or hang endings on names: each character is a word here."""
_WORD: Final = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_IS_UNSPACED: Final = re.compile(rf"[{_UNSPACED}]")
_GAP: Final = re.compile(r"[ \t\r\n.,'\u2018\u2019`_+-]{0,3}")
_UMLAUTS: Final = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "å": "aa", "Å": "Aa"}
)


class Names:
    """Built once from the list; `Anna Müller` is also `MULLER, Anna` and `Mueller Anna`."""

    def __init__(self, names: Collection[str]) -> None:
        self._by_first: dict[str, set[tuple[str, ...]]] = {}
        self._longest: dict[str, int] = {}
        for name in names:
            for spelling in (name, name.translate(_UMLAUTS)):
                self._add(tuple(_words(fold(spelling).text)[:NAME_MAX_WORDS]))

    def _add(self, words: tuple[str, ...]) -> None:
        is_unspaced = any(_IS_UNSPACED.match(word) for word in words)
        for turn in range(1 if is_unspaced else len(words)):
            turned = words[turn:] + words[:turn]
            self._by_first.setdefault(turned[0], set()).add(turned)
            self._longest[turned[0]] = max(len(turned), self._longest.get(turned[0], 0))

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Spans of the folded text."""
        if not self._by_first:
            return
        lowered = _lowered(text)
        for match in _WORD.finditer(lowered):
            candidates = self._by_first.get(match.group())
            if candidates is None:
                continue
            # Longer and longer runs of words are looked up: thousands of people may share a first name.
            found, end, longest = 0, match.end(), self._longest[match.group()]
            run: tuple[str, ...] = (match.group(),)
            while True:
                if run in candidates:
                    found = end
                gap = _GAP.match(lowered, end)
                following = _WORD.match(lowered, gap.end()) if gap else None
                if following is None or len(run) >= longest:
                    break
                run = (*run, following.group())
                end = following.end()
            if found:
                yield match.start(), found


def _words(text: str) -> list[str]:
    return _WORD.findall(_lowered(text))


def _lowered(text: str) -> str:
    """Lower case, and as long as before, so that places stay where they are."""
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else "".join(c.lower() if c.isascii() else c for c in text)
