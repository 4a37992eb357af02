"""What devices propose to the fleet, the rules that let it in, and what was to be forgotten.

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "forget_debt",
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("task_id", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("hash"),
    )
    op.create_table(
        "forget_receipt",
        sa.Column("principal", sa.String(length=64), nullable=False),
        sa.Column("request", sa.String(length=16), nullable=False),
        sa.Column("tenant", sa.String(length=24), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("is_own", sa.Boolean(), nullable=False),
        sa.Column("ordered_epoch", sa.LargeBinary(length=16), nullable=True),
        sa.Column("ordered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("items", sa.BigInteger(), nullable=False),
        sa.Column("contents", sa.BigInteger(), nullable=False),
        sa.Column("kept", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.BigInteger(), nullable=False),
        sa.Column("retracted", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("principal", "request"),
    )
    op.create_index("ix_forget_receipt_request", "forget_receipt", ["request"], unique=False)
    op.create_index("ix_forget_receipt_state", "forget_receipt", ["state"], unique=False)
    op.create_index("ix_forget_receipt_tenant", "forget_receipt", ["tenant"], unique=False)
    op.create_table(
        "forget_request",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("tenant", sa.String(length=24), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("about_hash", sa.LargeBinary(length=32), nullable=True),
        sa.Column("is_everywhere", sa.Boolean(), nullable=False),
        sa.Column("asked_by", sa.String(length=128), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("contents", sa.Integer(), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("proposals", sa.Integer(), nullable=False),
        sa.Column("kept", sa.Integer(), nullable=False),
        sa.Column("hub_done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_forget_request_tenant", "forget_request", ["tenant"], unique=False)
    op.create_table(
        "memory_item",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("tenant", sa.String(length=24), nullable=False),
        sa.Column("principal", sa.String(length=64), nullable=False),
        sa.Column("item", sa.String(length=16), nullable=False),
        sa.Column("sort", sa.String(length=16), nullable=False),
        sa.Column("scope", sa.String(length=8), nullable=False),
        sa.Column("by", sa.String(length=8), nullable=False),
        sa.Column("site", sa.String(length=64), nullable=True),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("cue_hash", sa.LargeBinary(length=32), nullable=True),
        sa.Column("key_digest", sa.LargeBinary(length=32), nullable=True),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("successes", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("is_reviewed", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(length=48), nullable=False),
        sa.Column("decided_by", sa.String(length=128), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("noticed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lane_id", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_memory_item_content_hash", "memory_item", ["content_hash"], unique=False)
    op.create_index("ix_memory_item_cue_hash", "memory_item", ["cue_hash"], unique=False)
    op.create_index("ix_memory_item_principal", "memory_item", ["principal"], unique=False)
    op.create_index("ix_memory_item_state", "memory_item", ["state"], unique=False)
    op.create_index("ix_memory_item_tenant_key_digest", "memory_item", ["tenant", "key_digest"], unique=False)
    op.create_index("ix_memory_item_tenant_noticed_at", "memory_item", ["tenant", "noticed_at"], unique=False)
    op.create_table(
        "memory_rule",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("tenant", sa.String(length=24), nullable=False),
        sa.Column("scope", sa.String(length=8), nullable=False),
        sa.Column("sort", sa.String(length=16), nullable=False),
        sa.Column("relations", sa.JSON(), nullable=False),
        sa.Column("sites", sa.JSON(), nullable=False),
        sa.Column("devices", sa.JSON(), nullable=False),
        sa.Column("device_labels", sa.JSON(), nullable=False),
        sa.Column("authors", sa.JSON(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("made_by", sa.String(length=128), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_memory_rule_tenant", "memory_rule", ["tenant"], unique=False)
    op.create_table(
        "memory_shelf",
        sa.Column("tenant", sa.String(length=24), nullable=False),
        sa.Column("collection", sa.String(length=48), nullable=False),
        sa.Column("scope", sa.String(length=8), nullable=False),
        sa.Column("site", sa.String(length=64), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_purging", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "collection"),
    )


def downgrade() -> None:
    for name in (
        "memory_shelf",
        "memory_rule",
        "memory_item",
        "forget_request",
        "forget_receipt",
        "forget_debt",
    ):
        op.drop_table(name)
