"""${message}

Revision ${up_revision}, after ${down_revision or "nothing"}, ${create_date.date()}.

Daemons of the previous release run while this does: add columns as nullable or with a constant default, fill them in a
revision of its own, and drop what nobody reads any more one release later. Locks wait five seconds, then all is undone.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision: str = ${repr(up_revision)}
down_revision: str | None = ${repr(down_revision)}
branch_labels: str | None = ${repr(branch_labels)}
depends_on: str | None = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
