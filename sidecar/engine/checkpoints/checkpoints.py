"""Checkpoint, GetCheckpoint, ListCheckpoints, DeleteCheckpoint, Restore: checked here, done by the modules beside.

All of them need the authority: a checkpoint that is not in it is none. Reading one does not need more than that and, for
contents that are there, the cold tier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sidecar.core.checkpoints import Record
from sidecar.core.entry import Entry
from sidecar.core.errors import FailedPrecondition, InvalidRequest
from sidecar.core.limits import (
    Limits,
    check_key,
    check_labels,
    check_page_size,
    check_prefix,
    check_request_id,
    check_version,
)
from sidecar.core.operations import WriteId
from sidecar.core.policy import CheckpointPolicy
from sidecar.engine.checkpoints.home import Home
from sidecar.engine.checkpoints.listing import Listing
from sidecar.engine.checkpoints.reading import read
from sidecar.engine.checkpoints.records import Scope, not_found
from sidecar.engine.checkpoints.removing import remove
from sidecar.engine.checkpoints.replies import CheckpointPage, Restored, Snapshot
from sidecar.engine.checkpoints.restoring import Wanted, restore
from sidecar.engine.checkpoints.taking import Asked, take
from sidecar.engine.namespaces import Namespace, Namespaces
from sidecar.engine.schemas.views import Views
from sidecar.engine.writes import Writes
from sidecar.tiers.placement import Placement

LABEL_BYTES_MAX = 256


class Checkpoints:
    """The engine's side of checkpoints. Empty texts are those that were not given."""

    def __init__(self, namespaces: Namespaces, limits: Limits, writes: Writes, views: Views) -> None:
        self._namespaces = namespaces
        self._limits = limits
        self._writes = writes
        self._views = views
        self._homes: dict[Placement, Home] = {}

    async def take(
        self,
        namespace: str,
        *,
        key: str = "",
        key_prefix: str = "",
        label: str = "",
        metadata: Mapping[str, str] | None = None,
        parent_id: str = "",
        request: WriteId | None = None,
        deadline: float | None = None,
    ) -> Record:
        """Make a checkpoint of a key, or of all keys under a prefix, as they are at one moment.

        Raises InvalidRequest, FailedPrecondition (KEY_NOT_FOUND), CheckpointNotFound (the parent's), VersionConflict,
        Unavailable, LimitExceeded, DeadlineExceeded, OutcomeUnknown, DataLoss.
        """
        space = self._namespaces.of(namespace)
        scope = self._scope(namespace, key, key_prefix)
        self._check(label, metadata or {}, request)
        home = self.home(space.authority())
        await self._writes.drain(namespace, key=scope.key, prefix=key_prefix)
        asked = Asked(scope=scope, label=label, metadata=dict(metadata or {}), parent_id=parent_id)
        return await take(home, asked, request=request, deadline=deadline)

    async def get(self, namespace: str, checkpoint_id: str, *, deadline: float | None = None) -> Snapshot:
        """A checkpoint with its entries as they were. Raises CheckpointNotFound, DataLoss, Unavailable, DeadlineExceeded."""
        space = self._namespaces.of(namespace)
        snapshot = await read(self.home(space.authority()), namespace, checkpoint_id, deadline=deadline)
        return replace(snapshot, entries=await self._shown(space, snapshot.entries))

    async def list(
        self,
        namespace: str,
        *,
        key: str = "",
        key_prefix: str = "",
        page_size: int = 0,
        page_token: str = "",
        deadline: float | None = None,
    ) -> CheckpointPage:
        """A page of the checkpoints of a key, of exactly a prefix, or of the whole namespace, newest first."""
        space = self._namespaces.of(namespace)
        scope = self._scope(namespace, key, key_prefix) if key or key_prefix else None
        check_page_size(page_size, self._limits)
        listing = Listing(
            self.home(space.authority()),
            namespace,
            scope,
            bytes_max=self._limits.page_bytes_max,
            deadline=deadline,
        )
        return await listing.page(size=page_size or self._limits.page_size_default, token=page_token)

    async def delete(self, namespace: str, checkpoint_id: str, *, deadline: float | None = None) -> None:
        """Remove a checkpoint. Raises CheckpointNotFound, and what a write of the authority raises."""
        home = self.home(self._namespaces.of(namespace).authority())
        if not await remove(home, namespace, checkpoint_id, deadline=deadline):
            raise not_found(checkpoint_id)

    async def restore(
        self,
        namespace: str,
        *,
        checkpoint_id: str = "",
        key: str = "",
        key_prefix: str = "",
        expected_version: int | None = None,
        request: WriteId | None = None,
        deadline: float | None = None,
    ) -> Restored:
        """Write a checkpoint's entries back: the one of that id, or the latest of a key or prefix.

        `expected_version` guards that of one key. Raises CheckpointNotFound, and what reading one and writing raise.
        """
        space = self._namespaces.of(namespace)
        scope = self._scope(namespace, key, key_prefix) if key or key_prefix or not checkpoint_id else None
        if scope is not None and checkpoint_id:
            raise InvalidRequest(
                "give a checkpoint_id, or a key or key_prefix whose latest is meant", reason="KEY_INVALID", field="key"
            )
        if expected_version is not None:
            check_version(expected_version, field="expected_version")
        if request is not None:
            check_request_id(request.request_id, self._limits)
        home = self.home(space.authority())
        wanted = Wanted(checkpoint_id, scope, expected_version)
        restored = await restore(home, space, self._writes, wanted, request=request, deadline=deadline)
        return replace(restored, entries=await self._shown(space, restored.entries))

    # ---- for jobs

    def home(self, placement: Placement) -> Home:
        """Where a placement's checkpoints are."""
        home = self._homes.get(placement)
        if home is None:
            home = self._homes[placement] = Home(placement)
        return home

    def policy(self, namespace: str) -> CheckpointPolicy:
        """What a namespace keeps."""
        return self._namespaces.of(namespace).policy.checkpoint

    # ----

    async def _shown(self, space: Namespace, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        """In the newest schema that we know. One that a step fails on is given as it was kept: it is what there is."""
        if space.schemas is None:
            return entries
        shown: list[Entry] = []
        for entry in entries:
            try:
                shown.append(await self._views.shown(space, entry, 0))
            except FailedPrecondition:
                shown.append(entry)
        return tuple(shown)

    def _scope(self, namespace: str, key: str, key_prefix: str) -> Scope:
        if bool(key) == bool(key_prefix):
            raise InvalidRequest("give a key or a key_prefix: one of the two", reason="KEY_INVALID", field="key")
        if key:
            check_key(key, self._limits)
            return Scope(namespace, key=key)
        check_prefix(key_prefix, self._limits)
        return Scope(namespace, key_prefix=key_prefix)

    def _check(self, label: str, metadata: Mapping[str, str], request: WriteId | None) -> None:
        size = len(label.encode())
        if size > LABEL_BYTES_MAX:
            raise InvalidRequest(
                f"label has {size} bytes, at most {LABEL_BYTES_MAX} are allowed", reason="FIELD_TOO_LONG", field="label"
            )
        try:
            check_labels(metadata, self._limits)
        except InvalidRequest as exc:
            raise InvalidRequest(f"metadata: {exc.message}", reason=exc.reason, field="metadata") from None
        if request is not None:
            check_request_id(request.request_id, self._limits)
