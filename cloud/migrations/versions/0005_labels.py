"""Labels of requests and results, and who asked for work.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("task", sa.Column("request_labels", sa.JSON(), server_default="[]", nullable=False))
    op.add_column("task", sa.Column("asker", sa.String(length=128), server_default="", nullable=False))
    op.add_column("task", sa.Column("asker_roles", sa.JSON(), server_default="[]", nullable=False))
    # Of what ended before, nobody knows them any more.
    op.add_column("node", sa.Column("result_labels", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("node", "result_labels")
    for name in ("asker_roles", "asker", "request_labels"):
        op.drop_column("task", name)
