"""What one process of a hub does. One process may do everything; several share the work.

    all      HTTPS and ingest; the only process of its home
    api      HTTPS; orders that it appends are sent by the ingest workers
    ingest   messages of devices, orders to them; no HTTPS

The processes of a hub share a database, the hub's identity and a broker. Those of one machine share a home directory;
every process is a candidate for the periodic jobs (`cloud.leader`).
"""

from enum import StrEnum


class Role(StrEnum):
    ALL = "all"
    API = "api"
    INGEST = "ingest"

    @property
    def has_https(self) -> bool:
        return self is not Role.INGEST

    @property
    def has_ingest(self) -> bool:
        return self is not Role.API
