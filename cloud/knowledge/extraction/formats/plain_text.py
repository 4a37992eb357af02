"""Plain text in any of the usual encodings: decoded, cleaned, and left to `shared/retrieval/structure.py`."""

from cloud.knowledge.extraction.decoding import decoded
from cloud.knowledge.extraction.draft import Draft, Source
from shared.retrieval.blocks import Document
from shared.retrieval.structure import plain_document


def read(source: Source, draft: Draft) -> Document:
    text = draft.cleaned(decoded(source.content, draft))
    return draft.checked(plain_document(text, name=source.stem))
