"""What a document that waits will need: its passages that are embedded already are kept until the rest is.

Revision ID: 0011
Revises: 0010
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("knowledge_upload", sa.Column("needs", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    op.drop_column("knowledge_upload", "needs")
