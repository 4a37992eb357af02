"""Gaps, closed logs, retention, presence, twins, metrics and leases.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("lane", sa.Column("tail_seq", sa.BigInteger(), server_default="1", nullable=False))
    op.add_column("lane", sa.Column("tail_hash", sa.LargeBinary(length=32), nullable=True))
    op.add_column("lane", sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("lane", sa.Column("close_reason", sa.String(length=32), nullable=True))
    op.add_column("lane", sa.Column("writer_head", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("lane", sa.Column("writer_bytes", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("lane", sa.Column("writer_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("lane", sa.Column("last_at_ms", sa.BigInteger(), nullable=True))
    op.add_column("lane", sa.Column("reader_seq", sa.BigInteger(), server_default="0", nullable=False))

    op.add_column("device", sa.Column("died_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("device", sa.Column("site", sa.String(length=64), nullable=True))
    op.add_column("device", sa.Column("group", sa.String(length=64), nullable=True))
    op.add_column("device", sa.Column("conditions", sa.JSON(), server_default="{}", nullable=False))
    op.create_index("ix_device_site", "device", ["site"], unique=False)
    op.create_index("ix_device_group", "device", ["group"], unique=False)

    op.add_column("dead_letter", sa.Column("resolution", sa.String(length=16), nullable=True))
    op.add_column("dead_letter", sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True))

    op.create_table(
        "lane_gap",
        sa.Column("lane_id", sa.BigInteger(), sa.ForeignKey("lane.id"), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("after_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=False),
        sa.Column("branch_of", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("lane_id", "first_seq"),
    )
    op.create_table(
        "lease",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("holder", sa.String(length=64), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "hub_hearing",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("gone_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("heard_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "twin_layer",
        sa.Column("tenant", sa.String(length=24), nullable=False),
        sa.Column("scope", sa.String(length=8), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "scope", "name"),
    )
    op.create_index("ix_twin_layer_updated_at", "twin_layer", ["updated_at"], unique=False)
    op.create_table(
        "device_twin",
        sa.Column("principal", sa.String(length=64), nullable=False),
        sa.Column("ordered_revision", sa.BigInteger(), nullable=True),
        sa.Column("ordered_sha256", sa.LargeBinary(length=32), nullable=True),
        sa.Column("ordered_epoch", sa.LargeBinary(length=16), nullable=True),
        sa.Column("ordered_seq", sa.BigInteger(), nullable=True),
        sa.Column("ordered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reported_revision", sa.BigInteger(), nullable=True),
        sa.Column("reported", sa.JSON(), nullable=False),
        sa.Column("refused", sa.JSON(), nullable=False),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("principal"),
    )
    op.create_table(
        "device_metrics",
        sa.Column("principal", sa.String(length=64), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("latest", sa.JSON(), nullable=False),
        sa.Column("shed_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("principal"),
    )
    op.create_table(
        "metric_roll_up",
        sa.Column("lane_id", sa.BigInteger(), sa.ForeignKey("lane.id"), autoincrement=False, nullable=False),
        sa.Column("rolled_seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("lane_id"),
    )
    op.create_table(
        "metric_hour",
        sa.Column("principal", sa.String(length=64), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("series", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("principal", "hour"),
    )
