"""The process that reads documents: it imports what it needs, gives up everything else, then answers one at a
time.

    python -m cloud.knowledge.extraction.child

On standard input, as frames of CBOR: first the limits and the table of formats, then documents. On standard
output: first what it gave up (`containment.Measure`), then for each document what it holds or why not. It ends
when its input does, and after any answer that leaves doubt about its own state: memory used up, an error nobody
expected. Nothing is logged: the hub tells what became of a document, and standard error leads nowhere.
"""

import dataclasses
import importlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, cast

from cloud.knowledge.extraction import containment, frames
from cloud.knowledge.extraction.draft import Draft, Reader, Source
from cloud.knowledge.extraction.extracted import Extracted, sealed, sealed_refusal
from cloud.knowledge.extraction.limits import ExtractionLimits
from cloud.knowledge.extraction.media import Format, judged
from cloud.knowledge.extraction.reasons import Reason, crashed, refused
from cloud.knowledge.extraction.rehearsal import rehearsals
from shared import cbor
from shared.errors import RefusedError

START_MAX_BYTES: Final = 1_048_576
ENVELOPE_MAX_BYTES: Final = 65_536
"""Of a document's message, beside its content."""


def main() -> None:
    with os.fdopen(0, "rb", buffering=0) as inbox, os.fdopen(1, "wb", buffering=0) as outbox:
        start = frames.receive(inbox, max_bytes=START_MAX_BYTES)
        if start is None:
            return
        limits, formats = _started(start)
        readers = {one.name: _reader(one) for one in formats}
        _rehearse(formats, readers)
        measures = containment.contain(memory_max_bytes=limits.memory_max_bytes)
        frames.send(outbox, cbor.encode(sorted(measures)))
        most = limits.content_max_bytes + ENVELOPE_MAX_BYTES
        is_sound = True
        while is_sound:
            try:
                message = frames.receive(inbox, max_bytes=most)
            except MemoryError:
                frames.send(outbox, sealed_refusal(_out_of_memory()))
                return
            if message is None:
                return
            containment.end_after(limits.cpu_max_s)
            answer, is_sound = _answered(message, formats, readers, limits)
            del message
            frames.send(outbox, answer)
            containment.end_after(0)


def start_message(limits: ExtractionLimits, formats: Sequence[Format]) -> bytes:
    return cbor.encode(
        {
            "limits": dataclasses.asdict(limits),
            "formats": [[one.name, one.media_type, list(one.suffixes), one.reader] for one in formats],
        }
    )


def document_message(name: str, content: bytes) -> bytes:
    return cbor.encode({"name": name, "content": content})


def _started(message: bytes) -> tuple[ExtractionLimits, tuple[Format, ...]]:
    value = cast("Mapping[str, object]", cbor.decode(message))
    limits = ExtractionLimits(**cast("Mapping[str, int]", value["limits"]))
    return limits, tuple(
        Format(name=name, media_type=media_type, suffixes=tuple(suffixes), reader=reader)
        for name, media_type, suffixes, reader in cast(
            "list[tuple[str, str, list[str], str]]", value["formats"]
        )
    )


def _reader(one: Format) -> Reader:
    module, _, function = one.reader.partition(":")
    return cast("Reader", getattr(importlib.import_module(module), function))


def _rehearse(formats: Sequence[Format], readers: Mapping[str, Reader]) -> None:
    limits = ExtractionLimits()
    for name, files in rehearsals().items():
        for file, content in files if name in readers else ():
            source = Source(name=file, content=content)
            _extracted(source, formats, readers, limits)
            half = dataclasses.replace(source, content=content[: len(content) // 2])
            with suppress(Exception):  # what libraries need to complain
                _extracted(half, formats, readers, limits)


def _answered(
    message: bytes, formats: Sequence[Format], readers: Mapping[str, Reader], limits: ExtractionLimits
) -> tuple[bytes, bool]:
    """The answer, and whether this process is fit for another document."""
    try:
        document = cast("Mapping[str, object]", cbor.decode(message))
        source = Source(name=cast("str", document["name"]), content=cast("bytes", document["content"]))
        return sealed(_extracted(source, formats, readers, limits)), True
    except RefusedError as error:
        return sealed_refusal(error), True
    except MemoryError:
        return sealed_refusal(_out_of_memory()), False
    except RecursionError:
        too_deep = refused(Reason.TOO_COMPLEX, "The document nests deeper than people write; it is not read.")
        return sealed_refusal(too_deep), True
    except Exception:  # noqa: BLE001 - whatever a library raises over bytes that were made to break it
        broken = refused(Reason.BROKEN, "The file is damaged; open it in its own program and save it anew.")
        return sealed_refusal(broken), True
    except BaseException:  # noqa: BLE001 - a panic of a library in Rust, after which it may be in disorder
        return sealed_refusal(crashed()), False


def _extracted(
    source: Source, formats: Sequence[Format], readers: Mapping[str, Reader], limits: ExtractionLimits
) -> Extracted:
    one = judged(source.name, source.content, formats, limits)
    draft = Draft(limits)
    document = readers[one.name](source, draft)
    if not document.blocks:
        raise refused(Reason.NO_TEXT, "The file holds no text.")
    return Extracted(document=document, media_type=one.media_type, notices=draft.notices())


def _out_of_memory() -> RefusedError:
    return refused(Reason.MEMORY, "The document needs more memory than one may have; split it.")


if __name__ == "__main__":
    main()
