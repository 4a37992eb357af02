"""A client that vanishes in the middle of what it sends holds nobody up for long."""

from contextlib import closing

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from cloud.db import Database
from cloud.stuck_sessions import end_stuck_sessions


def connect(database: str) -> psycopg.Connection:
    url = make_url(database)
    return psycopg.connect(host=url.host, port=url.port, user=url.username, dbname=url.database)


@pytest.mark.postgres
@pytest.mark.slow
def test_locks_of_a_client_that_vanished_between_two_statements_sent_together_are_given_back(
    postgres_database: str,
) -> None:
    with (
        closing(Database(postgres_database)) as database,
        closing(connect(postgres_database)) as client,
        closing(connect(postgres_database)) as at_work,
    ):
        with database.write() as session:
            session.execute(text("CREATE TABLE held (id int PRIMARY KEY)"))
            session.execute(text("INSERT INTO held VALUES (1)"))
        at_work.execute("SELECT 1")
        # As a pipeline that is cut: parsed, bound and executed, and neither a Sync nor anything else ever follows.
        client.pgconn.enter_pipeline_mode()
        client.pgconn.send_query_params(b"BEGIN", None)
        client.pgconn.send_query_params(b"SELECT id FROM held FOR UPDATE", None)
        client.pgconn.send_flush_request()
        client.pgconn.flush()
        _, _, locked = (client.pgconn.get_result() for _ in range(3))
        assert locked is not None
        assert locked.ntuples == 1
        assert end_stuck_sessions(database, after_s=3_600) == 0
        assert end_stuck_sessions(database, after_s=0) == 1
        with database.write() as session:
            assert session.execute(text("SELECT id FROM held FOR UPDATE")).all() == [(1,)]
        # A transaction that is open and idle is another matter, which PostgreSQL ends by itself.
        assert at_work.execute("SELECT 2").fetchone() == (2,)
