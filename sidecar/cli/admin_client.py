"""The client as operators use it: with the RPCs of AdminService that programs have no need of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc

from sidecar.cli.daemon_status import DaemonStatus, read
from statesidecar import RetryPolicy, StateClient, Tls
from statesidecar._effects import Plan
from statesidecar._states import States
from statesidecar._status import error_of_rpc
from statesidecar.v1 import admin_service_pb2 as pb
from statesidecar.v1 import types_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """One job of a collection; see the proto. `state` is the enum's name in small letters."""

    tier: str
    job: str
    state: str
    counts: Mapping[str, int]
    remaining_jobs: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrated:
    """How far a migration is; see the proto. `failures`: some of the keys, and why."""

    state: str
    target_version: int
    scanned: int
    migrated: int
    failed: int
    total: int
    remaining: int
    failures: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resealed:
    """How far sealing anew is; see the proto. `failures`: some of the keys, and why."""

    state: str
    scanned: int
    resealed: int
    failed: int
    remaining: int
    failures: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadWrite:
    """A buffered write that the authority could not take; see the proto."""

    id: str
    namespace: str
    key: str
    operation: str
    request_id: str
    value: bytes
    base_version: int | None
    buffered_time: datetime
    dead_time: datetime
    reason: str
    message: str


class AdminClient(StateClient):
    """Raises what every call of the client may raise."""

    def __init__(
        self,
        target: str | None,
        *,
        timeout_s: float,
        retry: RetryPolicy,
        token_file: Path | None = None,
        tls: Tls | None = None,
    ) -> None:
        super().__init__(target, timeout_s=timeout_s, retry=retry, token_file=token_file, tls=tls)
        self._calls = self._plans = _Plans(timeout_s, retry, token=self._token)

    def daemon_status(self) -> DaemonStatus:
        """Mode, tiers, requests, queues, journal, sizes."""
        return read(self._run(self._plans.ask("GetStatus", pb.GetStatusRequest())))

    def collect(self, *, dry_run: bool, timeout_s: float) -> Iterator[Collected | list[Collected]]:
        """Clean now, or count what would be cleaned: each job as it goes on; at last all of them, as they ended."""
        for reply in self._told("CollectGarbage", pb.CollectGarbageRequest(dry_run=dry_run), timeout_s):
            if reply.HasField("summary"):
                yield [_collected(job) for job in reply.summary.jobs]
            else:
                yield _collected(reply.progress)

    def migrate(self, namespace: str, *, target: int, dry_run: bool, timeout_s: float) -> Iterator[Migrated]:
        """Bring a namespace's entries to one schema, 0: the one that all daemons know: how far it is, again and again."""
        request = pb.MigrateRequest(namespace=namespace, dry_run=dry_run, target_version=target)
        for reply in self._told("Migrate", request, timeout_s):
            yield Migrated(
                state=_state(reply.state),
                target_version=reply.target_version,
                scanned=reply.scanned_count,
                migrated=reply.migrated_count,
                failed=reply.failed_count,
                total=reply.total_count,
                remaining=reply.remaining_count,
                failures={failure.key: failure.message for failure in reply.failures},
            )

    def reseal(self, namespace: str, *, dry_run: bool, timeout_s: float) -> Iterator[Resealed]:
        """Seal a namespace's values with the key of now; empty: the daemons' own rows: how far it is, again and again."""
        for reply in self._told("Reseal", pb.ResealRequest(namespace=namespace, dry_run=dry_run), timeout_s):
            yield Resealed(
                state=_state(reply.state),
                scanned=reply.scanned_count,
                resealed=reply.resealed_count,
                failed=reply.failed_count,
                remaining=reply.remaining_count,
                failures={failure.key: failure.message for failure in reply.failures},
            )

    def _told(self, rpc: str, request: Any, timeout_s: float) -> Iterator[Any]:
        """The replies of a call that tells how far it is."""
        connection = self._borrow()
        answers = connection.answers
        try:
            yield from connection.rpcs[rpc](request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise self._failed(connection, answers, error_of_rpc(error)) from error
        finally:
            self._give_back(connection)

    def dead_writes(self, namespace: str, *, page_size: int) -> Iterator[DeadWrite]:
        """Oldest first, a page at a time as they are asked for. `namespace` empty: all; `page_size` 0: the default."""
        token = ""
        while True:
            request = pb.ListDeadWritesRequest(namespace=namespace, page_size=page_size, page_token=token)
            reply = self._run(self._plans.ask("ListDeadWrites", request))
            yield from (_dead_write(dead) for dead in reply.dead_writes)
            token = reply.next_page_token
            if not token:
                return

    def redrive(self, namespace: str, ids: Sequence[str], *, overwrite: bool) -> tuple[int, int]:
        """How many took effect, and how many were refused again. No ids: all, of the namespace if it isn't empty."""
        resolution = pb.DEAD_WRITE_RESOLUTION_OVERWRITE if overwrite else pb.DEAD_WRITE_RESOLUTION_RETRY
        request = pb.RedriveDeadWritesRequest(namespace=namespace, ids=ids, all=not ids, resolution=resolution)
        reply = self._run(self._plans.order("RedriveDeadWrites", request))
        return reply.redriven_count, reply.refused_count

    def discard(self, namespace: str, ids: Sequence[str]) -> int:
        """How many were forgotten. No ids: as of `redrive`."""
        request = pb.DiscardDeadWritesRequest(namespace=namespace, ids=ids, all=not ids)
        count: int = self._run(self._plans.order("DiscardDeadWrites", request)).discarded_count
        return count


class _Plans(States):
    def ask(self, rpc: str, request: Any) -> Plan[Any]:
        """What changes nothing, so it may be sent again."""
        return (yield from self._send(rpc, request, self._deadline(None)))

    def order(self, rpc: str, request: Any) -> Plan[Any]:
        """What is counted: sent again after its reply was lost, it would tell another count."""
        return (yield from self._send(rpc, request, self._deadline(None), request_id=""))


def _collected(job: pb.CollectionProgress) -> Collected:
    return Collected(
        tier=types_pb2.Tier.Name(job.tier).removeprefix("TIER_").lower(),
        job=job.job,
        state=_state(job.state),
        counts=dict(job.counts),
        remaining_jobs=job.remaining_jobs,
        reason=job.reason,
        message=job.message,
    )


def _state(state: pb.CollectionState) -> str:
    return pb.CollectionState.Name(state).removeprefix("COLLECTION_STATE_").lower()


def _dead_write(dead: pb.DeadWrite) -> DeadWrite:
    return DeadWrite(
        id=dead.id,
        namespace=dead.namespace,
        key=dead.key,
        operation=dead.operation,
        request_id=dead.request_id,
        value=dead.value,
        base_version=dead.base_version if dead.HasField("base_version") else None,
        buffered_time=dead.buffered_time.ToDatetime(tzinfo=UTC),
        dead_time=dead.dead_time.ToDatetime(tzinfo=UTC),
        reason=dead.reason,
        message=dead.message,
    )
