"""Contents in a ledger and in cold: loaded through their chain, verified, and prepared to be stored against a parent's."""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sidecar.core import contents, deltas
from sidecar.core.blob_records import Owner
from sidecar.core.checkpoints import corrupt
from sidecar.core.contents import Content, content_key, references_key
from sidecar.core.errors import ColdUnavailable, DataLoss, InvalidRequest
from sidecar.core.ledger import LEDGER
from sidecar.core.operations import Change, Check, Increment, Operation, Put
from sidecar.core.ports import COMPUTED_BYTES, Ports
from sidecar.core.sealing import content_place
from sidecar.engine.checkpoints.records import rows_of
from sidecar.tiers.blobs import BlobLedger, secret_of
from sidecar.tiers.ledger import Ledger

INLINE_BYTES_MAX = 16 * 1024
"""What is stored in the row; more goes to the cold tier, if there is one."""
DOCUMENT_BYTES_MAX = 96 << 20
"""A document: values, and what is said about each of them."""
HELD_BYTES_MAX = 16 << 20
"""Documents that are kept at hand: the next checkpoint of a key is stored against its last."""
_LINKS_MAX = 2 * deltas.LINKS_MAX

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A content that is there once these operations are committed; `stored_bytes` is what they add."""

    content_id: str
    operations: tuple[Operation, ...]
    stored_bytes: int


class ContentStore:
    """The contents of one ledger; `blobs` None: there is no cold tier, and all is in the rows."""

    def __init__(self, ledger: Ledger, blobs: BlobLedger | None, ports: Ports) -> None:
        self._ledger = ledger
        self._blobs = blobs
        self._ports = ports
        self._secret = b""
        self._held: OrderedDict[str, bytes] = OrderedDict()
        self._held_bytes = 0

    # ---- reading

    async def load(self, namespace: str, content_id: str, *, deadline: float | None = None) -> bytes:
        """A document. Raises DataLoss (CHECKPOINT_CORRUPT) for anything but what was stored; ColdUnavailable."""
        if (known := self._held.get(content_id)) is not None:
            self._held.move_to_end(content_id)
            return known
        chain, base = await self._chain(content_id, deadline)
        parts = [await self._data(content) for content in reversed(chain)]
        secret = await self._secret_bytes()

        def put_together() -> bytes:
            document = base
            for part in parts:
                document = deltas.decode(part, document, bytes_max=DOCUMENT_BYTES_MAX)
            assert document is not None, "a chain has a content"
            if not hmac.compare_digest(contents.content_id(secret, namespace, document), content_id):
                raise corrupt("its content is not what was stored")
            return document

        try:
            document = await self._worked(len(chain) * chain[0].size, put_together)
        except deltas.DeltaCorrupt as exc:
            raise corrupt("its content can't be put together") from exc
        self._hold(content_id, document)
        return document

    async def _chain(self, content_id: str, deadline: float | None) -> tuple[list[Content], bytes | None]:
        """Rows from a content down to a whole one; or to one whose base is at hand, which is given too."""
        rows: dict[str, Content] = {}
        chain: list[Content] = []
        at = content_id
        wanted: tuple[str, ...] = (content_id,)
        while at and at not in self._held:
            if at not in rows:
                missing = [each for each in wanted if each not in rows]
                rows |= await self._rows(missing, deadline)
            if at not in rows or len(chain) > _LINKS_MAX:
                raise corrupt("a part of its content is not there")
            chain.append(rows[at])
            at, wanted = chain[-1].base_id, chain[-1].bases
        return chain, self._held.get(at)

    async def _rows(self, ids: Sequence[str], deadline: float | None) -> dict[str, Content]:
        found = await rows_of(self._ledger, [content_key(each) for each in ids], deadline=deadline)
        return {each: Content.decode(row.value, each) for each, row in zip(ids, found, strict=True) if row is not None}

    async def _data(self, content: Content) -> bytes:
        """The stored form."""
        if not content.blob:
            return content.data
        if self._blobs is None:
            raise ColdUnavailable("the checkpoint's content is in a cold tier, and none is configured")
        try:
            data = await self._blobs.load(content.blob, size=content.size)
            if data is not None:
                data = await self._blobs.opened(
                    data, content_place(content.content_id), namespace=LEDGER, key=content.blob
                )
        except DataLoss as exc:
            raise corrupt("a blob of it does not verify") from exc
        if data is None:
            raise corrupt("a blob of it is gone")
        return data

    # ---- storing

    async def prepare(
        self,
        namespace: str,
        document: bytes,
        *,
        parent: str,
        fence: Sequence[Check] = (),
        deadline: float | None = None,
    ) -> Prepared:
        """What has to be committed so that a document is there, with one more reference; `parent`: a content that it follows.

        A commit that is refused has met another's, and is to be prepared again. What goes to cold is put there now.
        """
        secret = await self._secret_bytes()
        content_id = await self._worked(len(document), lambda: contents.content_id(secret, namespace, document))
        count = references_key(content_id)
        [row, references] = await self._ledger.get([content_key(content_id), count], deadline=deadline)
        if row is not None and references is not None:
            another = Change(key=count, change=Increment(delta=1))
            return Prepared(content_id=content_id, operations=(another,), stored_bytes=0)
        base, base_row, base_document = await self._base(namespace, parent, len(document), deadline)
        stored = await self._worked(len(document), lambda: deltas.store(document, base, base_document))
        against = base_row if base_row is not None and stored.base_id else None
        content = Content(
            content_id=content_id,
            size=len(document),
            link=stored.link,
            bases=() if against is None else (against.content_id, *against.bases)[: contents.BASES_MAX],
            data=stored.data,
        )
        operations: list[Operation] = [Put(key=count, value=b"1", expected_version=0)]
        if against is not None:
            operations.append(Change(key=references_key(against.content_id), change=Increment(delta=1)))
        value, check = await self._placed(content, fence, deadline)
        operations += [Put(key=content_key(content_id), value=value, expected_version=0), *check]
        self._hold(content_id, document)
        size = len(value) + (len(stored.data) if check else 0)
        return Prepared(content_id=content_id, operations=tuple(operations), stored_bytes=size)

    async def _placed(
        self, content: Content, fence: Sequence[Check], deadline: float | None
    ) -> tuple[bytes, tuple[Check, ...]]:
        """The row of a content whose bytes are where they belong, and what has to hold when it is committed."""
        if self._blobs is not None and len(content.data) > INLINE_BYTES_MAX:
            owner = Owner(content=content.content_id)
            data = await self._blobs.sealed(LEDGER, content.data, content_place(content.content_id))
            stored = await self._blobs.store(data, owner, fence=fence, deadline=deadline)
            return Content(
                content_id=content.content_id,
                size=content.size,
                link=content.link,
                bases=content.bases,
                blob=stored.blob,
            ).encode(), (stored.check,)
        value = content.encode()
        most = self._ledger.authority.capabilities.value_bytes_max
        if most is not None and len(value) > most:
            raise too_large(
                f"{len(value)} bytes are to be stored, and the authority takes {most}: a cold tier takes more"
            )
        return value, ()

    async def _base(
        self, namespace: str, parent: str, size: int, deadline: float | None
    ) -> tuple[deltas.Base | None, Content | None, bytes | None]:
        """What a document of that size is stored against, its row, and its document. Nothing, if it can't be read."""
        try:
            rows = await self._rows([parent], deadline) if parent else {}
            base = deltas.choose_base(parent, rows[parent].link, size=size) if rows else None
            if base is None:
                return None, None, None
            if base.content_id not in rows:
                rows |= await self._rows([base.content_id], deadline)
            document = await self.load(namespace, base.content_id, deadline=deadline)
            return base, rows[base.content_id], document
        except KeyError:
            return None, None, None  # it was removed meanwhile
        except (DataLoss, ColdUnavailable):
            return None, None, None  # what can't be read is nothing to build on

    async def _secret_bytes(self) -> bytes:
        if not self._secret:
            self._secret = await secret_of(self._ledger, self._ports)
        return self._secret

    async def _worked(self, size: int, work: Callable[[], T]) -> T:
        """The result of a calculation on so many bytes."""
        return await self._ports.compute(work) if size > COMPUTED_BYTES else work()

    def _hold(self, content_id: str, document: bytes) -> None:
        """Keep a document at hand. What it is was verified, and never changes."""
        if content_id in self._held or len(document) > HELD_BYTES_MAX // 4:
            return
        self._held[content_id] = document
        self._held_bytes += len(document)
        while self._held_bytes > HELD_BYTES_MAX:
            _, dropped = self._held.popitem(last=False)
            self._held_bytes -= len(dropped)


def too_large(message: str) -> InvalidRequest:
    """A checkpoint, or what a restore would do, is more than fits."""
    return InvalidRequest(message, reason="CHECKPOINT_TOO_LARGE", field="key_prefix")
