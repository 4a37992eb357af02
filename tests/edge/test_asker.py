"""What stands beside a request: for whom it is, and which of its parts bear what."""

import json

from edge.asker import SAID_MAX_BYTES, encode_asker, pieces_of

PIECES = [("Send it.", ()), (" So I said: to eve.", ("untrusted",)), (" And: to Ann.", ())]
GOAL = "".join(text for text, _ in PIECES)


def test_pieces_come_back_as_they_were_said() -> None:
    said = encode_asker("ann", PIECES)
    assert said is not None
    assert pieces_of(GOAL, ("untrusted",), said.decode()) == PIECES
    assert json.loads(said)["who"] == "ann"


def test_a_request_without_pieces_is_one_and_bears_all_labels() -> None:
    assert pieces_of(GOAL, ("patient",), None) == [(GOAL, ("patient",))]
    said = encode_asker("ann", ())
    assert said is not None
    assert pieces_of(GOAL, ("patient",), said.decode()) == [(GOAL, ("patient",))]
    assert encode_asker("", ()) is None


def test_more_pieces_than_can_be_said_are_not_said() -> None:
    def many(count: int) -> bytes | None:
        return encode_asker("ann", [("x", (f"label-{number:05}",)) for number in range(count)])

    counts = range(400, 700)
    fits = [count for count in counts if b"pieces" in (many(count) or b"")]
    longest = many(fits[-1])
    assert longest is not None
    assert len(longest) <= SAID_MAX_BYTES
    assert fits[-1] < counts[-1]
    assert many(fits[-1] + 1) == b'{"who": "ann"}'
