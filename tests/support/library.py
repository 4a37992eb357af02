"""A reader of documents and an embedder without a model: one paragraph is a chunk, words decide what is near."""

from collections.abc import Callable, Sequence

from cloud.knowledge.librarian import Piece, ReadDocument
from shared.errors import ConfigError, RefusedError, UnavailableError
from shared.retrieval.chunking import Chunk
from tests.support.device import bytes_from
from tests.support.vectors import vector_of

MODEL = bytes_from("embedding model", 32)
BROKEN = b"%broken"
HANGING = b"%hanging"
SURPRISING = b"%surprising"


class ScriptedScribe:
    """Refuses `BROKEN`, is away for `HANGING`, and makes a mistake with `SURPRISING`."""

    def __init__(self) -> None:
        self.read_names: list[str] = []
        self.is_closed = False

    def read(self, name: str, content: bytes) -> ReadDocument:
        self.read_names.append(name)
        if content == BROKEN:
            raise RefusedError("The file is broken; save it again.", code="file_broken")
        if content == HANGING:
            raise UnavailableError("No process can be started to read documents.")
        if content == SURPRISING:
            raise IndexError("nobody thought of that")
        text = content.decode()
        title, pieces, start = text.partition("\n")[0].removeprefix("# "), [], 0
        for paragraph in text.split("\n\n"):
            chunk = Chunk(
                text=paragraph, headings=(title,), start=start, end=start + len(paragraph), page=None
            )
            if paragraph.strip():
                pieces.append(
                    Piece(
                        id=chunk.content_id,
                        headings=(title,),
                        text=paragraph,
                        start=start,
                        end=chunk.end,
                        page=0,
                    )
                )
            start += len(paragraph) + 2
        return ReadDocument(
            title=title, media_type="text/markdown", text=text, pieces=tuple(pieces), warnings=()
        )

    def close(self) -> None:
        self.is_closed = True


class ScriptedEmbeddings:
    """`embedded` counts texts. `is_missing`: the model is not installed. `on_embedded` is called after each batch."""

    def __init__(self, model: bytes = MODEL) -> None:
        self.model = model
        self.embedded = 0
        self.is_missing = False
        self.on_embedded: Callable[[], None] = lambda: None

    async def fingerprint(self) -> bytes:
        self._check()
        return self.model

    async def embed(self, texts: Sequence[str]) -> list[bytes]:
        self._check()
        self.embedded += len(texts)
        self.on_embedded()
        return [vector_of(text) for text in texts]

    async def vector(self, text: str) -> bytes:
        self._check()
        return vector_of(text)

    def _check(self) -> None:
        if self.is_missing:
            raise ConfigError("The embedding model is not installed; `covey-hub model install` does it.")
