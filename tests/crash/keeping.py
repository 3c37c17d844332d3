"""The places that a daemon comes by which keeps large values and checkpoints."""

from __future__ import annotations

KEEPING = (
    "blob.record.before:2",
    "blob.record.after:2",
    "blob.put.after:2",
    "files.link.before:2",
    "files.link.after:2",
    "large.commit.before:2",
    "large.commit.after:2",
    "checkpoint.commit.before:2",
    "checkpoint.commit.after:2",
    "checkpoint.remove.before",
    "checkpoint.remove.after",
    "restore.choose.after:2",
    "restore.commit.before:2",
    "restore.commit.after:2",
    "settle.commit.before",
    "settle.commit.after",
    "clean.claim.after",
    "clean.step.after",
)
