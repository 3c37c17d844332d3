"""The places that a daemon comes by which seals anew what an older key sealed."""

from __future__ import annotations

RESEALING = (
    "reseal.relocate.before:3",
    "reseal.relocate.after:3",
    "reseal.page.after",
    "reseal.blob.before",
    "reseal.finish.after",
)
