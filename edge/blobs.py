"""Content with a fresh salt."""

import os
from collections.abc import Callable

from shared.blobs import SALT_BYTES, Blob


def make_blob(content: bytes, *, random: Callable[[int], bytes] = os.urandom) -> Blob:
    """A blob with a fresh salt."""
    return Blob(salt=random(SALT_BYTES), content=content)
