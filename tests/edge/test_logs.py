"""The daemon's log: whole lines, in order, of what was so when it was logged; nothing in it stops the daemon."""

import io
import logging
import re
import sys
from collections.abc import Iterator

import pytest

from edge.logs import NOISY, logging_to_stderr

logger = logging.getLogger("edge.example")


@pytest.fixture(autouse=True)
def _levels_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("", *NOISY)]
    before = [each.level for each in loggers]
    yield
    for each, level in zip(loggers, before, strict=True):
        each.setLevel(level)


def test_lines_come_in_order_with_time_level_and_name(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to_stderr("info"):
        for number in range(100):
            logger.info("line %d", number)
        logger.debug("not told")
    lines = capsys.readouterr().err.splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == [str(number) for number in range(100)]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO edge\.example: line 0", lines[0])


def test_a_line_tells_what_was_so_when_it_was_logged(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to_stderr("info"):
        for _ in range(50):
            changing = ["before"]
            logger.info("%s", changing)
            changing[0] = "after"
    assert "after" not in capsys.readouterr().err


def test_a_traceback_follows_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to_stderr("error"):
        try:
            raise ValueError("too large")
        except ValueError:
            logger.exception("it failed")
    told = capsys.readouterr().err
    assert "ERROR edge.example: it failed\nTraceback (most recent call last):\n" in told
    assert told.endswith("ValueError: too large\n")


def test_a_log_that_cannot_be_written_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    with logging_to_stderr("info"):
        logger.info("lost")


def test_libraries_are_heard_from_warnings_on_whatever_the_level(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to_stderr("debug"):
        for name in NOISY:
            logging.getLogger(name).info("chatter")
            logging.getLogger(name).warning("trouble")
    told = capsys.readouterr().err
    assert told.count("trouble") == len(NOISY)
    assert "chatter" not in told
