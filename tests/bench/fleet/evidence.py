"""Whether a hub holds what simulated devices wrote: read from its SQLite database, without its code."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

from shared.ids import Lane
from shared.log import Head
from tests.support.process import ProcessFailedError

SHOWN_MAX: Final = 3


def check_logs(database: Path, heads: Mapping[tuple[str, Lane], Head]) -> None:
    """`heads`: of each log that devices wrote. Raises `ProcessFailedError` unless the hub has and applied all of it.

    A log's head hash covers every record before it (rule P2), so equal heads and counts are equal logs.
    """
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as db:
        held = {
            (principal, Lane(lane)): (Head(seq, bytes(hash_)), count)
            for principal, lane, seq, hash_, count in db.execute(
                "SELECT principal, lane, head_seq, head_hash, (SELECT count(*) FROM record WHERE lane_id = lane.id)"
                " FROM lane WHERE lane <> 'orders'"
            )
        }
        (dead,) = db.execute("SELECT count(*) FROM dead_letter").fetchone()
    wrong = [
        f"{principal} {lane}: {head.seq} written, {held.get((principal, lane))} held"
        for (principal, lane), head in heads.items()
        if head.seq and held.get((principal, lane)) != (head, head.seq)
    ]
    if wrong or dead:
        shown = "; ".join(wrong[:SHOWN_MAX])
        raise ProcessFailedError(
            f"{len(wrong)} logs differ at the hub and {dead} records are dead letters: {shown}"
        )
