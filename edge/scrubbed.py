"""The doors through which text leaves the agent, with every secret's value covered: journal, model, output, log.

The dispatcher has covered what tools produced. These doors are for what else may carry a value: a person who typed it
into a request, a model that was given it, a tool that prints. Each asks for the scrubber anew, so a secret counts from
the moment it is set.
"""

import io
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from threading import Lock
from typing import TextIO

from edge.core.scrub import Scrubber, StreamScrubber
from edge.ports import Draft, Journal
from shared.blobs import Blob, BlobRef
from shared.inference.ports import Finished, Generation, LanguageModel, Message, TextDelta

CurrentScrubber = Callable[[], Scrubber]


class ScrubbedJournal:
    """A `Journal` into which no content with a secret's value comes."""

    def __init__(self, journal: Journal, scrubber: CurrentScrubber) -> None:
        self._journal = journal
        self._scrubber = scrubber

    async def append(self, *drafts: Draft, durable: bool) -> tuple[int, ...]:
        scrubber = self._scrubber()
        return await self._journal.append(*(_covered(draft, scrubber) for draft in drafts), durable=durable)

    async def blob(self, ref: BlobRef) -> Blob | None:
        return await self._journal.blob(ref)


class ScrubbedModel:
    """A `LanguageModel` that is told no secret's value and tells none, also not in two pieces."""

    def __init__(self, model: LanguageModel, scrubber: CurrentScrubber) -> None:
        self._model = model
        self._scrubber = scrubber

    @property
    def name(self) -> str:
        return self._model.name

    @property
    def context_tokens(self) -> int:
        return self._model.context_tokens

    @property
    def is_loaded(self) -> bool:
        return bool(getattr(self._model, "is_loaded", True))

    async def close(self) -> None:
        await self._model.close()

    def generate(self, generation: Generation) -> AsyncGenerator[TextDelta | Finished, None]:
        scrubber = self._scrubber()
        if not scrubber:
            return self._model.generate(generation)
        return self._generate(scrubbed_generation(generation, scrubber), scrubber.stream())

    async def _generate(
        self, generation: Generation, stream: StreamScrubber
    ) -> AsyncGenerator[TextDelta | Finished, None]:
        async with aclosing(self._model.generate(generation)) as items:
            async for item in items:
                if isinstance(item, Finished):
                    if rest := stream.finish():
                        yield TextDelta(rest)
                    yield item
                elif text := stream.feed(item.text):
                    yield TextDelta(text)


def scrubbed_generation(generation: Generation, scrubber: Scrubber) -> Generation:
    """The same with every value covered in its messages."""
    messages = [Message(message.role, scrubber.text(message.content)) for message in generation.messages]
    return replace(generation, messages=messages)


class ScrubbedStream(io.TextIOBase):
    """Standard output or error: what is written shows no value. What may be the beginning of one waits for the rest."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._scrubber: Scrubber | None = None
        self._pieces: StreamScrubber | None = None
        self._lock = Lock()

    def scrub_with(self, scrubber: Scrubber) -> None:
        """From now on, with this one."""
        with self._lock:
            if scrubber is self._scrubber:
                return
            self._give(self._rest())
            self._scrubber = scrubber
            self._pieces = scrubber.stream() if scrubber else None

    def write(self, text: str) -> int:
        with self._lock:
            self._give(text if self._pieces is None else self._pieces.feed(text))
        return len(text)

    def flush(self) -> None:
        """Of what may be shown; the beginning of a secret goes on waiting."""
        self._stream.flush()

    def finish(self) -> TextIO:
        """Give the rest out; returns the stream beneath."""
        with self._lock:
            self._give(self._rest())
            self._pieces = None
        self._stream.flush()
        return self._stream

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has an attribute
        return self._stream.encoding

    def _rest(self) -> str:
        return "" if self._pieces is None else self._pieces.finish()

    def _give(self, text: str) -> None:
        if text:
            self._stream.write(text)


@contextmanager
def scrubbed_output() -> Iterator[Callable[[Scrubber], None]]:
    """Standard output and error without secrets, so neither the log nor what a tool prints shows one.

    Yields what takes the present scrubber.
    """
    streams = ScrubbedStream(sys.stdout), ScrubbedStream(sys.stderr)

    def scrub_with(scrubber: Scrubber) -> None:
        for stream in streams:
            stream.scrub_with(scrubber)

    sys.stdout, sys.stderr = streams
    try:
        yield scrub_with
    finally:
        sys.stdout, sys.stderr = streams[0].finish(), streams[1].finish()


def _covered(draft: Draft, scrubber: Scrubber) -> Draft:
    """The draft with covered content, and a record that names it. The draft itself if it holds no value."""
    if not scrubber:
        return draft
    renamed: dict[BlobRef, BlobRef] = {}
    blobs: list[Blob] = []
    for blob in draft.blobs:
        content = scrubber.data(blob.content)
        if content is not blob.content:
            covered = Blob(salt=blob.salt, content=content)
            renamed[blob.ref()] = covered.ref()
            blob = covered  # noqa: PLW2901
        blobs.append(blob)
    if not renamed:
        return draft
    record = draft.record
    changes = {
        name: renamed[value]
        for name in type(record).model_fields
        if isinstance(value := getattr(record, name), BlobRef) and value in renamed
    }
    return Draft(record.model_copy(update=changes), tuple(blobs))
