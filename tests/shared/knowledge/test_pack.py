"""Contents arrive whole and under their own names, or not at all."""

import cbor2
import pytest

from shared.errors import ProtocolError
from shared.folded import fold
from shared.knowledge import Content, pack, unpack
from shared.knowledge.pack import PACK_MAX_BYTES, PACK_MAX_CONTENTS, UNFOLDED_MAX_BYTES, content_id
from tests.shared.knowledge.revisions import MODEL
from tests.support.device import bytes_from

SOME = [Content(("Pump", "Cleaning"), "Close valve V2.", bytes(range(64))), Content((), "Überlauf", b"")]


def test_what_was_asked_for_comes_out_and_nothing_else() -> None:
    data = pack(SOME, model=MODEL)
    assert unpack(data, model=MODEL, wanted=[SOME[0].id]) == SOME[:1]
    assert unpack(data, model=MODEL, wanted=[each.id for each in SOME]) == SOME


def test_an_altered_text_has_another_name() -> None:
    forged = Content(SOME[0].headings, "Open valve V2.", SOME[0].vector)
    assert unpack(pack([forged], model=MODEL), model=MODEL, wanted=[SOME[0].id]) == []


def test_the_name_tells_headings_from_text() -> None:
    assert (
        len(
            {
                content_id(("a",), "b"),
                content_id((), "ab"),
                content_id(("a", "b"), ""),
                content_id(("ab",), ""),
            }
        )
        == 4
    )


def test_embeddings_of_another_model_are_refused() -> None:
    with pytest.raises(ProtocolError) as caught:
        unpack(pack(SOME, model=bytes_from("other", 32)), model=MODEL, wanted=[])
    assert caught.value.code == "model_differs"


def test_as_many_contents_as_a_pack_may_hold_and_not_one_more() -> None:
    full = [Content((), f"{number}", b"") for number in range(PACK_MAX_CONTENTS)]
    assert len(unpack(pack(full, model=MODEL), model=MODEL, wanted=[each.id for each in full])) == len(full)
    with pytest.raises(ProtocolError):
        unpack(pack([*full, Content((), "more", b"")], model=MODEL), model=MODEL, wanted=[])


@pytest.mark.parametrize(
    "data",
    [
        b"", b"x", pack(SOME, model=MODEL)[:-1], pack(SOME, model=MODEL) + b"x",
        fold(b"\xff"), fold(cbor2.dumps({"format": 1})),
        fold(cbor2.dumps({"format": 1, "model": MODEL, "headings": [[]], "texts": [], "vectors": []})),
        bytes(PACK_MAX_BYTES + 1), fold(bytes(UNFOLDED_MAX_BYTES + 1)),
    ],
    ids=["empty", "no-zstd", "cut", "longer", "no-cbor", "other", "columns", "large", "bomb"],
)  # fmt: skip
def test_broken_packs_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        unpack(data, model=MODEL, wanted=[])
