"""Statements: their form is told at once, however they are spaced."""

import time

from shared.memory.items import Fact
from shared.memory.statements import STATEMENT_MAX_CHARS, fact_in


def test_many_spaces_in_a_row_do_not_keep_a_device_busy() -> None:
    begun = time.monotonic()
    fact_in("a of" + " " * (STATEMENT_MAX_CHARS - 10) + "x")
    assert time.monotonic() - begun < 1.0


def test_spaces_in_a_row_are_one() -> None:
    assert fact_in("the  fridge's \t limit is  8 °C") == Fact(
        subject="fridge", relation="limit", value="8 °C", said="the fridge's limit is 8 °C"
    )
