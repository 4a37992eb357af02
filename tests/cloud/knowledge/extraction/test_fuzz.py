"""Whatever is done to a valid file, it is read or refused with a code; the child answers the next one all the same."""

import zipfile
from io import BytesIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.knowledge.extraction import Extractor, Reason
from shared.errors import RefusedError
from tests.cloud.knowledge.extraction.files import archive, paragraph, pdf
from tests.cloud.knowledge.extraction.test_extractor import FILES

pytestmark = pytest.mark.slow

VALID = {**FILES, "b.pdf": pdf(paragraph("Text of a page. " * 20), title="Title", outline=[("Text", 0)])}
EXPECTED = {"read", *Reason} - {Reason.TIMEOUT, Reason.MEMORY, Reason.CRASHED}


@st.composite
def mutated(draw: st.DrawFn, content: bytes) -> bytes:
    """Some bytes changed, a piece cut out, doubled or moved, or the end missing."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(len(data) - 1, 0)))
        end = min(start + draw(st.integers(1, 64)), len(data))
        match draw(st.sampled_from(["change", "cut", "double", "move", "end", "zero"])):
            case "change":
                data[start:end] = draw(st.binary(min_size=end - start, max_size=end - start))
            case "cut":
                del data[start:end]
            case "double":
                data[start:start] = data[start:end]
            case "move":
                piece = data[start:end]
                del data[start:end]
                data += piece
            case "end":
                del data[end:]
            case _:
                data[start:end] = bytes(end - start)
    return bytes(data)


@pytest.mark.parametrize("name", VALID)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_files_are_read_or_refused(extractor: Extractor, name: str, data: st.DataObject) -> None:
    content = data.draw(mutated(VALID[name]))
    assert outcome(extractor, name, content) in EXPECTED


@pytest.mark.parametrize("name", ["a.docx", "a.xlsx"])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_parts_of_sound_archives_are_read_or_refused(
    extractor: Extractor, name: str, data: st.DataObject
) -> None:
    """Damage within the packed bytes never gets past the checksum; so damage the parts, and pack them anew."""
    parts = parts_of(VALID[name])
    part = data.draw(st.sampled_from(sorted(parts)))
    parts[part] = data.draw(mutated(parts[part]))
    assert outcome(extractor, name, archive(parts)) in EXPECTED


@pytest.mark.parametrize("name", VALID)
def test_truncated_anywhere(extractor: Extractor, name: str) -> None:
    content = VALID[name]
    for end in range(1, len(content), max(len(content) // 40, 1)):
        assert outcome(extractor, name, content[:end]) in EXPECTED


def outcome(extractor: Extractor, name: str, content: bytes) -> str:
    """ "read", or the code of the refusal."""
    try:
        found = extractor.extract(name, content)
    except RefusedError as error:
        return error.code
    return "read" if found.document.blocks else "nothing"


def parts_of(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(BytesIO(content)) as packed:
        return {name: packed.read(name) for name in packed.namelist()}
