"""Rows that let somebody in carry a MAC under a key that is not in the database. Pure.

Whoever can write to the database, but not read the hub's key files, can then neither make a user nor raise a role.
It does not show that a row was put back to an older state of itself, or removed.
"""

import hashlib
import hmac

from shared.cbor import encode

KEY_BYTES = 32


class RowSeal:
    """HMAC-SHA256 over a row's table and the columns that decide anything."""

    def __init__(self, key: bytes) -> None:
        """`key`: 32 bytes that only the hub has (`Identity.derive("rows")`)."""
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key has {KEY_BYTES} bytes")
        self._key = key

    def of(self, table: str, *values: object) -> bytes:
        """The MAC (32 bytes). `values` are what CBOR holds: None, booleans, numbers, text, bytes, lists, maps."""
        return hmac.digest(self._key, encode([table, list(values)]), hashlib.sha256)

    def fits(self, mac: bytes, table: str, *values: object) -> bool:
        """Whether `mac` was made by `of` for these very values; compared in constant time."""
        return hmac.compare_digest(mac, self.of(table, *values))
