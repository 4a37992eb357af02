"""Secrets for devices' tools: sealed here to one device's key, and which device holds which; no value is kept."""
