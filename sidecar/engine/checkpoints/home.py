"""Where the checkpoints of a placement's namespaces are: in its authority's ledger, and in its cold tier."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from sidecar.core import ledger as names
from sidecar.core.checkpoints import corrupt, seal, unseal
from sidecar.core.errors import FailedPrecondition, SidecarError, Unavailable, VersionConflict
from sidecar.core.limits import DAY_MS
from sidecar.core.operations import Operation, Put, WriteId
from sidecar.core.store import Outcome, request_id_reused
from sidecar.engine.checkpoints.contents import ContentStore
from sidecar.engine.checkpoints.records import Records
from sidecar.tiers.placement import Placement

REQUESTS_KEPT_MS = DAY_MS
RACES_MAX = 20
"""Attempts to commit what others are changing too."""


class Home:
    """One placement's."""

    def __init__(self, placement: Placement) -> None:
        self.placement = placement
        self.ledger = placement.ledger
        self.records = Records(placement.ledger)
        self.contents = ContentStore(placement.ledger, placement.blobs, placement.ports)

    async def commit(
        self, operations: Sequence[Operation], *, request: WriteId | None = None, deadline: float | None = None
    ) -> Outcome:
        """Change the ledger, all or nothing. Raises what the Store port does; see `is_race`."""
        return await self.ledger.commit(operations, request=request, deadline=deadline)

    async def recall(
        self, namespace: str, request: WriteId | None, *, deadline: float | None = None
    ) -> Mapping[str, str] | None:
        """What a request id was told before; None: nothing. Raises REQUEST_ID_REUSED."""
        if request is None:
            return None
        key = names.request_key(namespace, request.request_id)
        [row] = await self.ledger.get([key], deadline=deadline)
        if row is None:
            return None
        try:
            told: dict[str, str] = json.loads(unseal(row.value, key))
            if told["fingerprint"] != request.fingerprint.hex():
                raise request_id_reused(request)
        except (ValueError, KeyError, TypeError) as exc:
            raise corrupt("what its request id was told is in no known form") from exc
        return told


def remembered(namespace: str, request: WriteId | None, told: Mapping[str, str]) -> tuple[Put, ...]:
    """What keeps an answer under its request id; refused where there is one."""
    if request is None:
        return ()
    key = names.request_key(namespace, request.request_id)
    text = json.dumps({**told, "fingerprint": request.fingerprint.hex()}, separators=(",", ":"))
    return (Put(key=key, value=seal(text.encode(), key), ttl_ms=REQUESTS_KEPT_MS, expected_version=0),)


def ledger_request(namespace: str, request: WriteId | None) -> WriteId | None:
    """A request id for the ledger, which all namespaces share: what was lost of an answer is found again."""
    if request is None:
        return None
    key = names.request_key(namespace, request.request_id)
    return WriteId(request_id=key, fingerprint=request.fingerprint)


def is_race(error: SidecarError) -> bool:
    """Whether a commit was refused for what another had changed: a row's version, or a counter that is gone."""
    return isinstance(error, VersionConflict) or (
        isinstance(error, FailedPrecondition) and error.reason == "KEY_NOT_FOUND"
    )


def contended() -> Unavailable:
    """All attempts met another's."""
    return Unavailable(
        "others change the same checkpoints all the time; nothing was written",
        reason="CHECKPOINT_CONTENDED",
        retry_after_s=0.1,
    )
