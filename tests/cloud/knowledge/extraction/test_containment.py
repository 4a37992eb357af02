"""A document that takes over its reader gets nothing and ends nothing but itself.

The children here are real and so is what they are stopped by; what they do is in `hostile_readers.py`.
"""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from cloud.knowledge.extraction import FORMATS, Extractor
from cloud.knowledge.extraction.containment import Measure
from cloud.knowledge.extraction.limits import MIB, ExtractionLimits
from shared.errors import UnavailableError
from tests.cloud.knowledge.extraction.hostile_readers import DEEDS, HOSTILE
from tests.cloud.knowledge.extraction.shown import blocks, refusal

pytestmark = pytest.mark.slow

LIMITS = ExtractionLimits(cpu_max_s=1, wall_max_s=20, memory_max_bytes=512 * MIB, text_max_chars=MIB)


@pytest.fixture(scope="module")
def victim() -> Iterator[Extractor]:
    with Extractor(LIMITS, formats=(*FORMATS, HOSTILE)) as one:
        yield one


def is_well(extractor: Extractor) -> bool:
    return blocks(extractor.extract("a.hostile", b"well")) == [("paragraph", "well")]


def children() -> set[int]:
    """Processes whose parent we are."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread of another test ended meanwhile
            found.update(int(pid) for pid in (task / "children").read_text().split())
    return found


@pytest.mark.parametrize(
    ("deed", "code"),
    [
        ("loop", "extraction_timeout"),
        ("eat memory", "extraction_memory"),
        ("kill itself", "extraction_crashed"),
        ("exit", "extraction_crashed"),
        ("panic", "extraction_crashed"),
        ("talk between", "extraction_crashed"),
        ("talk on and on", "extraction_crashed"),
        ("recurse", "file_too_complex"),
        ("raise", "file_broken"),
        ("huge", "file_too_large"),
    ],
)
def test_reader_gone_wrong_is_a_refusal_of_that_document_alone(
    victim: Extractor, deed: str, code: str
) -> None:
    assert refusal(victim, "a.hostile", deed.encode()) == code
    assert is_well(victim)


def test_waiting_is_ended_by_the_clock() -> None:
    limits = ExtractionLimits(cpu_max_s=20, wall_max_s=0.5)
    with Extractor(limits, formats=(*FORMATS, HOSTILE)) as extractor:
        assert refusal(extractor, "a.hostile", b"wait") == "extraction_timeout"
        assert is_well(extractor)


def test_nothing_outside_can_be_reached(victim: Extractor) -> None:
    found = blocks(victim.extract("a.hostile", b"escape"))
    assert [text for _, text in found if not text.endswith(")")] == []
    assert len(found) == len(DEEDS)
    assert not Path("/tmp/escaped").exists()


def test_every_measure_holds_here(victim: Extractor) -> None:
    expected = set(Measure) if os.geteuid() == 0 else set(Measure) - {Measure.NOBODY}
    assert victim.measures() == expected


def test_child_that_ended_between_documents_is_replaced() -> None:
    before = children()
    with Extractor(formats=(*FORMATS, HOSTILE)) as extractor:
        assert is_well(extractor)
        (pid,) = children() - before
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert is_well(extractor)
    assert children() <= before


def test_child_is_replaced_after_so_many_documents() -> None:
    before = children()
    with Extractor(ExtractionLimits(process_max_documents=2), formats=(*FORMATS, HOSTILE)) as extractor:
        seen = []
        for _ in range(3):
            extractor.measures()
            seen.append(children() - before)
            assert is_well(extractor)
        assert seen[0] == seen[1]
        assert seen[1].isdisjoint(seen[2])


def test_closing_ends_the_child_and_may_be_repeated() -> None:
    before = children()
    extractor = Extractor()
    extractor.measures()
    assert children() - before
    extractor.close()
    extractor.close()
    assert children() <= before
    with pytest.raises(UnavailableError, match="closed"):
        extractor.extract("a.txt", b"text")
    assert children() <= before


def test_closing_does_not_wait_for_a_document_and_does_not_blame_it() -> None:
    with ThreadPoolExecutor(1) as pool:
        extractor = Extractor(ExtractionLimits(wall_max_s=600), formats=(*FORMATS, HOSTILE))
        extractor.measures()
        reading = pool.submit(extractor.extract, "a.hostile", b"wait")
        extractor.close()
        with pytest.raises(UnavailableError, match="closed"):
            reading.result(timeout=30)


def test_child_that_cannot_start_is_nobodys_document() -> None:
    missing = type(HOSTILE)(name="x", media_type="text/x", suffixes=(".x",), reader="no.such.module:read")
    with Extractor(formats=(missing,)) as extractor, pytest.raises(UnavailableError) as caught:
        extractor.extract("a.x", b"x")
    assert caught.value.code == "extraction_unavailable"


def test_file_that_does_not_even_fit_into_the_memory_is_told_so() -> None:
    with Extractor(ExtractionLimits(memory_max_bytes=MIB)) as extractor:
        assert refusal(extractor, "a.txt", b"x" * 60 * MIB) == "extraction_memory"
