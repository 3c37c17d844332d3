"""The places that a daemon comes by which knows several schemas."""

from __future__ import annotations

MIGRATING = (
    "fleet.row.before",
    "fleet.row.after",
    "fleet.leave.after",
    "schema.commit.before:2",
    "schema.commit.after:2",
    "upgrade.relocate.before",
    "upgrade.relocate.after",
    "asked.claim.after",
    "migrate.relocate.before:3",
    "migrate.relocate.after:3",
    "migrate.page.after",
    "migrate.finish.after",
)
