"""Memories for the bench: long dialogues with questions, and pairs of questions for the cache. Our own text."""
