"""A MAC over the key to which secrets for a device are encrypted.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("device", sa.Column("sealing_mac", sa.LargeBinary(length=32), nullable=True))
