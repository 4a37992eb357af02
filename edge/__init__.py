"""The on-device daemon: one asyncio process with a local model, a journal and a link (see edge/README.md)."""
