"""Bytes to text: byte order mark, then what the document declares, then UTF-8, then a careful guess that is noted.

Labels mean what browsers take them for (WHATWG Encoding Standard: "latin1" is windows-1252, "gb2312" is
gb18030). Only the encodings of this table are ever used, all of them looked up when the module is imported: the
child that decodes can open no file later, and some codecs of Python are no character encodings at all.
"""

import codecs
from typing import Final

import charset_normalizer

from cloud.knowledge.extraction.draft import Draft
from cloud.knowledge.extraction.extracted import NoticeCode
from cloud.knowledge.extraction.reasons import Reason, refused

SAMPLE_MAX_BYTES: Final = 65_536
"""Of what is not ASCII, for the guess."""

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: its mark begins with the other's
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LABELS: Final = {
    "utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "cp1252", "ascii": "cp1252",
    "iso-8859-1": "cp1252", "latin1": "cp1252", "windows-1252": "cp1252", "cp1252": "cp1252",
    "windows-1250": "cp1250", "iso-8859-2": "iso8859_2", "latin2": "iso8859_2",
    "windows-1251": "cp1251", "iso-8859-5": "iso8859_5", "koi8-r": "koi8_r", "koi8-u": "koi8_u",
    "windows-1253": "cp1253", "iso-8859-7": "iso8859_7", "windows-1254": "cp1254", "iso-8859-9": "cp1254",
    "windows-1255": "cp1255", "iso-8859-8": "iso8859_8", "windows-1256": "cp1256", "iso-8859-6": "iso8859_6",
    "windows-1257": "cp1257", "windows-1258": "cp1258", "iso-8859-15": "iso8859_15", "macintosh": "mac_roman",
    "shift_jis": "cp932", "shift-jis": "cp932", "sjis": "cp932", "windows-31j": "cp932", "euc-jp": "euc_jp",
    "iso-2022-jp": "iso2022_jp", "gb2312": "gb18030", "gbk": "gb18030", "gb18030": "gb18030", "big5": "big5hkscs",
    "euc-kr": "cp949", "ks_c_5601-1987": "cp949", "windows-874": "cp874", "tis-620": "cp874",
    "utf-16": "utf-16-le", "utf-16le": "utf-16-le", "utf-16be": "utf-16-be",
}  # fmt: skip
"""What documents call their encoding, in lower case, and the codec for it."""
_GUESSED: Final = (
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r", "cp932", "euc_jp", "gb18030",
    "big5", "cp949",
)  # fmt: skip
for _codec in {*_LABELS.values(), *_GUESSED, *(codec for _, codec in _MARKS)}:
    codecs.lookup(_codec)


def decoded(content: bytes, draft: Draft, *, declared: str | None = None) -> str:
    """The text, without its mark. Raises `RefusedError` for what is no text, or not in the encoding that it claims."""
    for mark, codec in _MARKS:
        if content.startswith(mark):
            text = _strictly(content[len(mark) :], codec)
            if text is None:
                raise refused(
                    Reason.BROKEN,
                    f"The file says by its first bytes that it is {codec}, and is not; save it anew.",
                )
            return text
    for candidate in (_LABELS.get((declared or "").strip().lower()), "utf-8", _without_mark(content)):
        if candidate and (text := _plausible(content, candidate)) is not None:
            return text
    if b"\0" in content:
        raise refused(Reason.TYPE_LIES, "The file is named like a text and holds binary data.")
    draft.note(NoticeCode.ENCODING_GUESSED)
    return content.decode(_guess(content), "replace")


def _plausible(content: bytes, codec: str) -> str | None:
    """A zero byte stands in no text but in UTF-16; where a page declares that and holds none, it is something else."""
    if codec.startswith("utf-16") != (b"\0" in content[:SAMPLE_MAX_BYTES]):
        return None
    return _strictly(content, codec)


def _strictly(content: bytes, codec: str) -> str | None:
    try:
        return content.decode(codec)
    except UnicodeDecodeError:
        return None


def _without_mark(content: bytes) -> str | None:
    """UTF-16 of a language with spaces and digits has its zero bytes at odd places, or all at even ones."""
    sample = content[:SAMPLE_MAX_BYTES]
    even, odd = sample[0::2].count(0), sample[1::2].count(0)
    if max(even, odd) * 20 < len(sample) or min(even, odd) * 10 > max(even, odd):
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _guess(content: bytes) -> str:
    lines = (line for line in content.splitlines() if not line.isascii())
    sample = bytearray()
    for line in lines:
        sample += line[: SAMPLE_MAX_BYTES - len(sample)] + b"\n"
        if len(sample) >= SAMPLE_MAX_BYTES:
            break
    best = charset_normalizer.from_bytes(bytes(sample), cp_isolation=list(_GUESSED)).best()
    return best.encoding if best is not None else "cp1252"
