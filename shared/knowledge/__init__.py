"""What the hub and its devices say to one another about collections of knowledge. Pure.

A revision of a collection is a `Manifest`: which chunks of which documents. Contents (the chunks' texts with their
embeddings) are named by their own hash and travel apart from it, each once.
"""

from shared.knowledge.delta import apply, difference
from shared.knowledge.manifest import ChunkEntry, DocumentEntry, Manifest
from shared.knowledge.pack import Content, pack, unpack

__all__ = [
    "ChunkEntry", "Content", "DocumentEntry", "Manifest", "apply", "difference", "pack", "unpack",
]  # fmt: skip
