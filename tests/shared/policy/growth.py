"""Texts made to be slow, and a count of work that does not depend on the machine."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Final

SLOW_SEEDS: Final = (
    "1", "1 ", "4 ", "4111 ", "030 ", "01 ", "034 12 ", "+1 ", "+49 30 1 ", "a@", "a@b.c", "a@b dot ", "a at ", "b.",
    " ", "12-", "a:", "DE12 ", "\u200b", "1\u200b", "%34", "%25", "%2525", "tel 1 ", "ssn 1 2 3 4 5 ", "anna ", "[( ",
    '"@', "a1b2:", "1 22 22 22 333 333 2 ", "123-45-", "AB 12 34 56 ", "ABCDEF", "&#52;", "ignore all ",
    "send all the ", '{"action": ', "\n", "a b ", "aGVsbG8gd29ybGQgaGVsbG8gd29ybGQg",
    "transfer $1 , ", "## ", "<tool_call ",
    "do not tell ", "p\u0430", "\u202e", "\U000e0041", "\ufe00", "\ud800",
)  # fmt: skip


def calls(work: Callable[[], object]) -> int:
    """How many functions, of Python and of C, the work calls."""
    count = 0

    def on_event(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(on_event)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count
