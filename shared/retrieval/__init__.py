"""Retrieval: the same chunks, terms, scores and citations on hub and device. Pure; import its modules by name."""
