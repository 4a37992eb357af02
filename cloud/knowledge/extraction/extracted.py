"""What comes out of a file, and how it crosses from the child process: CBOR, never pickle, believed only when
checked.

The child may have been taken over by the document that it read. So what it sends is data of a stranger:
everything is validated when it arrives (`opened`), and no type, code or bound is taken from its word.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cloud.knowledge.extraction.reasons import Reason, refused
from shared import cbor
from shared.errors import ProtocolError, RefusedError
from shared.retrieval.blocks import Block, BlockKind, Document

MESSAGE_MAX_CHARS: Final = 400
_BLOCK_TYPES: Final = [str, int, int, int, int]
HEAD_MAX_BYTES: Final = 65_536
"""Of all but the blocks and the text."""
BLOCK_MAX_BYTES: Final = 48
"""Of one block: its kind, and four numbers."""
_LENGTH_BYTES: Final = 8
_FIELDS: Final = frozenset({"title", "blocks", "media_type", "notices"})


class NoticeCode(StrEnum):
    """What a person may want to know of a document that was read all the same."""

    HIDDEN_CHARACTERS = "hidden_characters_removed"
    CONTROL_CHARACTERS = "control_characters_removed"
    HIDDEN_TEXT = "hidden_text_skipped"
    REPEATED_LINES = "repeated_lines_removed"
    PAGES_WITHOUT_TEXT = "pages_without_text"
    ENCODING_GUESSED = "encoding_guessed"
    FORMULAS_WITHOUT_VALUE = "formulas_without_value"
    HIDDEN_SHEETS = "hidden_sheets_skipped"


NOTICE_SENTENCES: Final = {
    NoticeCode.HIDDEN_CHARACTERS: "{count} invisible or direction-changing characters were removed.",
    NoticeCode.CONTROL_CHARACTERS: "{count} control characters were removed.",
    NoticeCode.HIDDEN_TEXT: "{count} characters that the document does not show to its readers were left out.",
    NoticeCode.REPEATED_LINES: "{count} lines that repeat at the top or bottom of pages were left out.",
    NoticeCode.PAGES_WITHOUT_TEXT: "{count} pages hold no text; if they are scans, recognise their text first.",
    NoticeCode.ENCODING_GUESSED: "The encoding had to be guessed; save the file as UTF-8 if letters look wrong.",
    NoticeCode.FORMULAS_WITHOUT_VALUE: (
        "{count} formulas have no stored value; open and save the file in a spreadsheet program to give them one."
    ),
    NoticeCode.HIDDEN_SHEETS: "{count} hidden sheets were left out.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """`count`: characters, lines, pages, cells or sheets, as the sentence says."""

    code: NoticeCode
    count: int

    @property
    def sentence(self) -> str:
        return NOTICE_SENTENCES[self.code].format(count=self.count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extracted:
    document: Document
    media_type: str
    notices: tuple[Notice, ...] = ()


def sealed(extracted: Extracted) -> bytes:
    """As the child sends it: the length of the CBOR, the CBOR, and the document's text in UTF-8.

    The text stands apart so that what is decoded into objects is small: a list of a hundred million numbers would
    fit into the bytes that a long text may have.
    """
    document = extracted.document
    head = {
        "title": document.title,
        "blocks": [
            [block.kind.value, block.level, block.start, block.end, block.page or 0]
            for block in document.blocks
        ],
        "media_type": extracted.media_type,
        "notices": [[notice.code.value, notice.count] for notice in extracted.notices],
    }
    return _with_length(cbor.encode(head)) + document.text.encode()


def sealed_refusal(error: RefusedError) -> bytes:
    return _with_length(cbor.encode({"code": error.code, "message": str(error)[:MESSAGE_MAX_CHARS]}))


def opened(
    answer: bytes, *, media_types: Sequence[str], text_max_chars: int, blocks_max: int
) -> Extracted | RefusedError:
    """What the child sent. Raises `ValueError` or `ProtocolError` where that cannot be an honest answer."""
    end = _LENGTH_BYTES + int.from_bytes(answer[:_LENGTH_BYTES])
    if end > min(len(answer), HEAD_MAX_BYTES + blocks_max * BLOCK_MAX_BYTES):
        raise ProtocolError("The answer's head is longer than it can be.")
    head = cbor.decode(answer[_LENGTH_BYTES:end])
    if not isinstance(head, dict):
        raise ProtocolError("The answer is no map.")
    if head.keys() == {"code", "message"}:
        return refused(Reason(_text(head["code"])), _sentence(_text(head["message"])))
    if head.keys() != _FIELDS:
        raise ProtocolError("The answer has other fields than the document's.")
    text, blocks, notices = str(memoryview(answer)[end:], "utf-8"), head["blocks"], head["notices"]
    if not isinstance(blocks, list) or not isinstance(notices, list):
        raise ProtocolError("The answer's blocks or notices are no list.")
    if len(text) > text_max_chars or len(blocks) > blocks_max or len(notices) > len(NoticeCode):
        raise ProtocolError("The answer is larger than a document may be.")
    media_type = _text(head["media_type"])
    if media_type not in media_types:
        raise ProtocolError("The answer names a format that is not read here.")
    return Extracted(
        document=Document(title=_text(head["title"]), text=text, blocks=tuple(map(_block, blocks))),
        media_type=media_type,
        notices=tuple(map(_notice, notices)),
    )


def _with_length(head: bytes) -> bytes:
    return len(head).to_bytes(_LENGTH_BYTES) + head


def _block(fields: object) -> Block:
    if not isinstance(fields, list) or list(map(type, fields)) != _BLOCK_TYPES:
        raise ProtocolError("A block of the answer has another shape.")
    kind, level, start, end, page = fields
    return Block(kind=BlockKind(kind), level=level, start=start, end=end, page=page or None)


def _notice(fields: object) -> Notice:
    match fields:
        case [str(code), int(count)]:
            return Notice(code=NoticeCode(code), count=count)
        case _:
            raise ProtocolError("A notice of the answer has another shape.")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ProtocolError("The answer has something else where a text belongs.")
    return value


def _sentence(message: str) -> str:
    """It is shown to people: one line, of characters that can be seen."""
    return "".join(char if char.isprintable() else " " for char in message[:MESSAGE_MAX_CHARS])
