"""The on-device daemon: one asyncio process with a local model, a journal and a link (see edge/README.md)."""

from typing import Final

__version__: Final = "0.1.0"
"""As in pyproject.toml. Here too, because whoever reads it from the installation reads a megabyte of libraries."""
