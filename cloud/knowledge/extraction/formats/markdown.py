"""Markdown: decoded, cleaned, and left to `shared/retrieval/structure.py`, as devices read it too."""

import markdown_it  # noqa: F401 - structure.py imports it when first used, when the child can open no file any more

from cloud.knowledge.extraction.decoding import decoded
from cloud.knowledge.extraction.draft import Draft, Source
from shared.retrieval.blocks import Document
from shared.retrieval.structure import markdown_document


def read(source: Source, draft: Draft) -> Document:
    text = draft.cleaned(decoded(source.content, draft))
    return draft.checked(markdown_document(text, name=source.stem))
