"""What a user decided about a label that waited for approval."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("feedback", sa.Column("review", sa.String(10)))


def downgrade() -> None:
    op.drop_column("feedback", "review")
