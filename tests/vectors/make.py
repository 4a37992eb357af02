"""Makes `wire.json`, the golden bytes of protocol version 1: `python -m tests.vectors.make`.

Run it only for a new protocol version. A change of these bytes is a change of what deployed devices read and write.
Every message but `batch-zstd` is below the size from which payloads are compressed, so its bytes depend on no library.
"""

import json
from pathlib import Path
from typing import Final

from shared.envelope import unwrap
from shared.records import encode_record
from tests.vectors.values import DEVICE, JOURNAL, MESSAGES, RECORDS, batch_of, closed

PATH: Final = Path(__file__).with_name("wire.json")
COMPRESSED: Final = "batch-zstd"

LONG_BATCH: Final = batch_of(JOURNAL, [encode_record(record) for record in RECORDS.values()])
"""Compressed on the wire. What zstd makes of it may differ from version to version; it is only read."""


def messages() -> dict[str, bytes]:
    """The messages whose bytes today's code must reproduce."""
    made = {name: closed(message, issuer=issuer) for name, (message, issuer) in MESSAGES.items()}
    for name, data in made.items():
        if unwrap(data).header.encoding is not None:
            raise ValueError(f"the message {name} is compressed; give it a smaller payload")
    return made


def records() -> dict[str, bytes]:
    """The records whose bytes today's code must reproduce."""
    return {kind: encode_record(record) for kind, record in RECORDS.items()}


def main() -> None:
    """Write `wire.json`."""
    golden = {
        "messages": {name: data.hex() for name, data in messages().items()}
        | {COMPRESSED: closed(LONG_BATCH, issuer=DEVICE).hex()},
        "records": {kind: data.hex() for kind, data in records().items()},
    }
    PATH.write_text(json.dumps(golden, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
