"""E-mail addresses (RFC 5322 3.4.1, RFC 6531), also as people write them to hide them from machines. Pure.

The sign between name and domain is found first, and its surroundings are looked at from there: no character is read
for more than two signs, so that the time is linear in the text.
"""

import re
from collections.abc import Iterator
from typing import Final

LOCAL_MAX_CHARS: Final = 64
"""RFC 5321, section 4.5.3.1.1."""

_SIGN: Final = re.compile(
    r"(?P<plain>@)"
    r"|(?P<spaced>(?<=[^ ]) {1,2}@ {1,2}(?=[^ ]))"
    r"|(?P<bracketed> {0,2}[\[({<] {0,2}(?:at|@|arobase|arroba|klammeraffe) {0,2}[\])}>] {0,2})"
    r"|(?P<word>(?<=[^ ]) {1,2}(?:at|AT|arobase|arroba) {1,2}(?=[^ ]))"
)
_DOT_WORD: Final = r"(?:dot|DOT|Dot|punkt|Punkt|point|punto|ponto)"
# Bare, `point` is prose: "at any point in time".
_HIDDEN_DOT: Final = (
    r"(?: {0,2}[\[({<] {0,2}(?:\.|"
    + _DOT_WORD
    + r") {0,2}[\])}>] {0,2}| {1,2}(?:dot|DOT|Dot|punkt|Punkt) {1,2})"
)
_LABEL: Final = r"[^\W_](?:[\w-]{0,62})"
_LAST_LABEL: Final = r"(?:xn--[a-zA-Z0-9-]{2,59}|[^\W\d_]{2,24})(?![\w-])"
_DOMAIN: Final = re.compile(rf"(?:{_LABEL}\.){{1,8}}{_LAST_LABEL}")
_HIDING_DOMAIN: Final = re.compile(rf"(?:{_LABEL}(?:\.|{_HIDDEN_DOT}|(?: \. ))){{1,8}}{_LAST_LABEL}")
_LOCAL_SIGNS: Final = frozenset("._+-!#$%&'*/=?^`{|}~")
_NO_TLDS_TEXT: Final = """
css csv gif htm html jpeg jpg js json log md mount path pdf png py scope service slice socket svg target
timer toml ts txt webp xml yaml yml
"""
_NO_TLDS: Final = frozenset(_NO_TLDS_TEXT.split())
"""What follows a dot in file names (`icon@2x.png`) and systemd units (`getty@tty1.service`)."""
_MAIL_PROVIDERS_TEXT: Final = """
gmail.com googlemail.com outlook.com hotmail.com yahoo.com icloud.com aol.com gmx.de gmx.net web.de
proton.me protonmail.com mail.ru yandex.ru qq.com t-online.de orange.fr free.fr libero.it
"""
_MAIL_PROVIDERS: Final = frozenset(_MAIL_PROVIDERS_TEXT.split())
_USUAL_TLDS_TEXT: Final = """
com org net edu gov io de fr es it nl uk eu ch at be pl se no fi dk cz pt ie br mx ca au in cn jp ru us info
"""
_USUAL_TLDS: Final = frozenset(_USUAL_TLDS_TEXT.split())


def find_emails(text: str) -> Iterator[tuple[int, int]]:
    """Spans of the folded text."""
    for sign in _SIGN.finditer(text):
        start = _local_start(text, sign.start())
        if start == sign.start():
            continue
        is_plain = sign.lastgroup == "plain"
        domain = (_DOMAIN if is_plain else _HIDING_DOMAIN).match(text, sign.end())
        if domain is None and is_plain:
            domain = _HIDING_DOMAIN.match(text, sign.end())
        if domain is None:
            continue
        ending = _last_label(domain.group())
        if ending in _NO_TLDS or not any(character.isalnum() for character in text[start : sign.start()]):
            continue
        match sign.lastgroup:
            case "spaced" if ending not in _USUAL_TLDS:
                continue
            case "word" if not _is_hidden(domain.group()) or ending not in _USUAL_TLDS:
                continue
        yield start, domain.end()


def _local_start(text: str, end: int) -> int:
    """Where the part before the sign begins; `end` itself if there is none."""
    if text[end - 1 : end] == '"':
        quote = text.rfind('"', max(0, end - LOCAL_MAX_CHARS), end - 1)
        return quote if quote >= 0 and "\n" not in text[quote:end] else end
    start = end
    floor = max(0, end - LOCAL_MAX_CHARS)
    while start > floor and (text[start - 1].isalnum() or text[start - 1] in _LOCAL_SIGNS):
        start -= 1
    while start < end and not (text[start].isalnum() or text[start] == "_"):
        start += 1
    return start


def _last_label(domain: str) -> str:
    return re.split(r"[^\w-]", domain)[-1].casefold()


def _is_hidden(domain: str) -> bool:
    """ "look at example.com" is prose, "me at example dot com" is not; nor is an address at a provider of mail."""
    return " " in domain or "[" in domain or "(" in domain or domain.casefold() in _MAIL_PROVIDERS
