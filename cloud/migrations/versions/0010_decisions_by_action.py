"""How often a device's rules were asked about each action, and said no.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "policy_action_tally",
        sa.Column("principal", sa.String(length=64), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("action", sa.String(length=128), nullable=False),
        sa.Column("decided", sa.BigInteger(), nullable=False),
        sa.Column("denied", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("principal", "version", "action"),
    )


def downgrade() -> None:
    op.drop_table("policy_action_tally")
