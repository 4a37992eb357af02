"""What the child sends is believed only when it could be honest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.knowledge.extraction import Extracted, Notice, NoticeCode
from cloud.knowledge.extraction.extracted import opened, sealed, sealed_refusal
from cloud.knowledge.extraction.reasons import Reason, refused
from shared import cbor
from shared.errors import ProtocolError, RefusedError
from shared.retrieval.blocks import BlockKind, DocumentBuilder

BUILDER = DocumentBuilder(title="Title")
BUILDER.add(BlockKind.HEADING, "Heading", level=2, page=3)
BUILDER.add(BlockKind.TABLE, "| a |")
EXTRACTED = Extracted(
    document=BUILDER.build(),
    media_type="text/plain",
    notices=(Notice(code=NoticeCode.HIDDEN_TEXT, count=3),),
)
HONEST = {
    "title": "T", "blocks": [["paragraph", 0, 0, 3, 0]], "media_type": "text/plain", "notices": [],
}  # fmt: skip


def answered(head: object, text: bytes = b"abc") -> bytes:
    encoded = cbor.encode(head)
    return len(encoded).to_bytes(8) + encoded + text


def read(answer: bytes, *, text_max_chars: int = 1_000, blocks_max: int = 10) -> Extracted | RefusedError:
    return opened(answer, media_types=["text/plain"], text_max_chars=text_max_chars, blocks_max=blocks_max)


def test_document_arrives_as_it_was_sent() -> None:
    assert read(sealed(EXTRACTED)) == EXTRACTED


def test_refusal_arrives_with_code_and_one_clean_line() -> None:
    answer = read(sealed_refusal(refused(Reason.BROKEN, "Two\nlines\u202e.")))
    assert isinstance(answer, RefusedError)
    assert (answer.code, str(answer)) == ("file_broken", "Two lines .")


@pytest.mark.parametrize(
    "change",
    [
        {"title": 1}, {"title": "\0"}, {"blocks": {}}, {"blocks": [[]]},
        {"blocks": [["paragraph", 0, 0, 4, 0]]}, {"blocks": [["paragraph", 0, 2, 1, 0]]},
        {"blocks": [["paragraph", 1, 0, 3, 0]]}, {"blocks": [["heading", 9, 0, 3, 0]]},
        {"blocks": [["other", 0, 0, 3, 0]]}, {"blocks": [["paragraph", 0, 0, 3, -1]]},
        {"blocks": [["paragraph", 0, 0, 3, 0], ["paragraph", 0, 1, 2, 0]]},
        {"blocks": [["paragraph", 0, 0, 3, 0, 0]]}, {"blocks": [["paragraph", 0.0, 0, 3, 0]]},
        {"media_type": "text/evil"}, {"notices": [["other", 1]]}, {"notices": [["hidden_text_skipped"]]},
        {"notices": 5}, {"more": 1},
    ],
)  # fmt: skip
def test_answer_that_cannot_be_is_not_believed(change: dict[str, object]) -> None:
    assert isinstance(read(answered(HONEST)), Extracted)
    with pytest.raises((ProtocolError, ValueError)):
        read(answered({**HONEST, **change}))


def test_answer_beyond_the_bounds_is_not_believed() -> None:
    assert isinstance(read(answered(HONEST), text_max_chars=3, blocks_max=1), Extracted)
    with pytest.raises(ProtocolError):
        read(answered(HONEST), text_max_chars=2)
    with pytest.raises(ProtocolError):
        read(answered(HONEST), blocks_max=0)


@pytest.mark.parametrize("text", [b"ab", b"ab\xff", b"a\0c"])
def test_text_that_the_blocks_do_not_fit_or_that_is_none_is_not_believed(text: bytes) -> None:
    with pytest.raises((ProtocolError, ValueError)):
        read(answered(HONEST, text))


def test_head_longer_than_its_blocks_can_be_is_not_decoded() -> None:
    with pytest.raises(ProtocolError, match="longer"):
        read(answered({**HONEST, "title": "x" * 70_000}))
    with pytest.raises(ProtocolError, match="longer"):
        read(answered(HONEST)[:20])


def test_refusal_with_a_code_of_its_own_is_not_believed() -> None:
    with pytest.raises(ValueError, match="admin"):
        read(answered({"code": "admin", "message": "x"}, b""))


@pytest.mark.slow
@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_not_believed(answer: bytes) -> None:
    with pytest.raises((ProtocolError, ValueError)):
        read(answer)
