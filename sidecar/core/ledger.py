"""The ledger: rows that the daemon keeps for itself in an authority, in a namespace that no caller can name.

| key | row |
| --- | --- |
| `i/<blob>` | a blob's record (`core/blob_records.py`): whose it is, and whether it is condemned |
| `i/<blob>+<checkpoint id>` | a checkpoint that waits still needs this blob |
| `c/<namespace>␟<id, inverted>` | a checkpoint's record (`core/checkpoints.py`); inverted ids sort newest first |
| `k/<namespace>␟<scope>/<id, inverted>` | says that there is one of this key, or prefix |
| `p/<namespace>␟<id>` | the document of a checkpoint that waits to be stored by what changed in it |
| `b/<content id>` | a content (`core/contents.py`): how it is stored, and the bytes if they are few |
| `r/<content id>` | how many checkpoints and contents need it: a counter |
| `q/<namespace>␟<request id, hashed>` | the checkpoint that a request id made; ends by itself |
| `o/<job>` | who does a background job, and until when |
| `x/<namespace>␟<order>/<id>` | a message that waits (`core/outbox.py`) |
| `y/<namespace>␟<order>/<id>` | why a message holds up those of its key after it, and until when |
| `z/<namespace>␟<time><id>` | a message that was given up on; ends by itself |
| `g/<group>␟…` | who delivers the messages of a group: its members, and who has which lane |
| `v/<daemon>` | the schemas that a daemon knows; ends by itself |
| `secret` | random bytes that content ids are keyed with |

Namespaces hold no control characters, so the separator ends them.
"""

from __future__ import annotations

import hashlib

LEDGER = "\x1f"
"""The namespace of the ledger."""
SEPARATOR = "\x1f"
SECRET = "secret"  # noqa: S105  # a key's name

BLOBS, CHECKPOINTS, INDEX, WAITING, CONTENTS, REFERENCES, REQUESTS, OWNERS = (f"{letter}/" for letter in "ickpbrqo")
MESSAGES, PARKED, DEAD_LETTERS, GROUPS, SCHEMAS = (f"{letter}/" for letter in "xyzgv")
_ID_DIGITS = 28
_INVERTED = str.maketrans("0123456789abcdef", "fedcba9876543210")


def checkpoint_id(now: int, rest: int) -> str:
    """An id that sorts by time: 12 hex digits of milliseconds, 16 of a version or of chance."""
    return f"{now:012x}{rest:016x}"


def is_checkpoint_id(text: str) -> bool:
    """Whether it has the form of one."""
    return len(text) == _ID_DIGITS and not text.strip("0123456789abcdef")


def inverted(checkpoint: str) -> str:
    """An id whose order is the other way round; its own inverse."""
    return checkpoint.translate(_INVERTED)


def blob_key(blob: str) -> str:
    """The record of a blob."""
    return BLOBS + blob


def hold_key(blob: str, checkpoint: str) -> str:
    """What says that a checkpoint that waits needs a blob."""
    return f"{BLOBS}{blob}+{checkpoint}"


def checkpoints_of(namespace: str) -> str:
    """The prefix of all checkpoints of a namespace, newest first."""
    return f"{CHECKPOINTS}{namespace}{SEPARATOR}"


def checkpoint_key(namespace: str, checkpoint: str) -> str:
    """A checkpoint's record."""
    return checkpoints_of(namespace) + inverted(checkpoint)


def index_of(namespace: str, key: str | None, prefix: str | None) -> str:
    """The prefix of the index of a key's checkpoints, or a prefix's, newest first."""
    scope = f"={key}" if key is not None else f"^{prefix}"
    # Hashed: a key may hold the separator, and be as long as a key of the ledger may be.
    return f"{INDEX}{namespace}{SEPARATOR}{hashlib.sha256(scope.encode()).hexdigest()[:32]}/"


def waiting_of(namespace: str) -> str:
    """The prefix of a namespace's checkpoints that wait."""
    return f"{WAITING}{namespace}{SEPARATOR}"


def waiting_key(namespace: str, checkpoint: str) -> str:
    """The document of a checkpoint that waits."""
    return waiting_of(namespace) + checkpoint


def request_key(namespace: str, request_id: str) -> str:
    """What a request id made."""
    return f"{REQUESTS}{namespace}{SEPARATOR}{hashlib.sha256(request_id.encode()).hexdigest()[:32]}"
