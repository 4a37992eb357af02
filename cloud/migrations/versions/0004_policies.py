"""How many branches of a log an operator has settled.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("lane", sa.Column("branches_settled", sa.Integer(), server_default="0", nullable=False))
    # What was settled until now was told by times.
    op.execute(
        "UPDATE lane SET branches_settled = (SELECT count(*) FROM lane_gap"
        " WHERE lane_gap.branch_of = lane.id AND lane_gap.at < lane.closed_at) WHERE closed_at IS NOT NULL"
    )


def downgrade() -> None:
    op.drop_column("lane", "branches_settled")
