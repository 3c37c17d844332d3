"""Contents: documents of checkpoints as they are stored, each under a digest that is keyed per namespace.

So equal documents of a namespace are stored once, nobody finds out what another namespace has, and what is given back is
compared with its own name. A row says what the content was stored against (`core/deltas.py`), and the bases of that: a
chain is read by few calls. The bytes are in the row if they are few, else in a blob.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import sha256
from struct import Struct
from struct import error as StructError  # noqa: N812  # an exception

from sidecar.core.checkpoints import corrupt, seal, unseal
from sidecar.core.deltas import Link
from sidecar.core.ledger import CONTENTS, REFERENCES

ID_BYTES = 16
BASES_MAX = 8
"""How many bases a row names: its own, that one's own, and so on."""

_FORM = 1
_HEAD = Struct(">BIHIHIBBH")
"""Form; size; depth, bytes of the chain; those of the anchor; whether there is one; bases; length of the blob's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A content's row. `size` is that of the document; `bases` begins with its own, if there is one."""

    content_id: str
    size: int
    link: Link
    bases: tuple[str, ...] = ()
    blob: str = ""
    data: bytes = b""

    @property
    def base_id(self) -> str:
        """What it is stored against; empty: it is whole."""
        return self.bases[0] if self.bases else ""

    def encode(self) -> bytes:
        """As bytes, behind their digest."""
        link, anchor = self.link, bytes.fromhex(self.link.anchor)
        head = _HEAD.pack(
            _FORM,
            self.size,
            link.depth,
            link.chain_bytes,
            link.anchor_depth,
            link.anchor_bytes,
            bool(anchor),
            len(self.bases),
            len(self.blob),
        )
        ids = bytes.fromhex("".join(self.bases))
        return seal(b"".join((head, anchor, ids, self.blob.encode(), self.data)), self.content_id)

    @classmethod
    def decode(cls, stored: bytes, content_id: str) -> Content:
        """Inverse of `encode`, of the content of that id. Raises DataLoss (CHECKPOINT_CORRUPT)."""
        row = unseal(stored, content_id)
        try:
            form, size, depth, chain, anchor_depth, anchor_bytes, anchored, bases, named = _HEAD.unpack_from(row)
            blob = _ids_end(anchored, bases)
            data = blob + named
            if form != _FORM or data > len(row):
                raise ValueError("a row of another form")  # noqa: TRY301  # told as all that is wrong
            ids = [row[at : at + ID_BYTES].hex() for at in range(_HEAD.size, blob, ID_BYTES)]
            link = Link(
                depth=depth,
                chain_bytes=chain,
                anchor=ids[0] if anchored else "",
                anchor_depth=anchor_depth,
                anchor_bytes=anchor_bytes,
            )
            return cls(
                content_id=content_id,
                size=size,
                link=link,
                bases=tuple(ids[anchored:]),
                blob=row[blob:data].decode(),
                data=row[data:],
            )
        except (ValueError, StructError) as exc:
            raise corrupt("a row of its content is in no known form") from exc


def content_key(content_id: str) -> str:
    """A content's row in the ledger."""
    return CONTENTS + content_id


def references_key(content_id: str) -> str:
    """The counter of those that need it."""
    return REFERENCES + content_id


def content_id(secret: bytes, namespace: str, document: bytes) -> str:
    """The name of a document in a namespace; `secret` is the ledger's."""
    key = hmac.digest(secret, b"checkpoints\0" + namespace.encode(), "sha256")
    return hmac.new(key, document, sha256).digest()[:ID_BYTES].hex()


def _ids_end(anchored: int, bases: int) -> int:
    return _HEAD.size + ID_BYTES * (anchored + bases)
