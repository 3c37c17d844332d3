"""StateService: each RPC converts, asks the engine, converts back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from sidecar.core.errors import InvalidRequest
from sidecar.core.modes import ServingMode
from sidecar.core.operations import Operation
from sidecar.engine.engine import Engine
from sidecar.engine.followups import Followup
from sidecar.engine.replies import Read, Written
from sidecar.rpc import convert, convert_outbox, large, packing
from sidecar.rpc.calls import Admission, Commits, Context, patience, rpc
from sidecar.rpc.checkpoints_service import CheckpointsService
from sidecar.rpc.connect.streams import Streams
from sidecar.rpc.watch_service import Watches, WatchService
from sidecar.tiers.reading import Lookup
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2
from statesidecar.v1.state_service_pb2_grpc import StateServiceServicer

CACHED = (types_pb2.CONSISTENCY_UNSPECIFIED, types_pb2.CONSISTENCY_CACHED)


def _strong(consistency: int) -> bool:
    if consistency == types_pb2.CONSISTENCY_STRONG:
        return True
    if consistency not in CACHED:
        raise InvalidRequest(
            f"consistency {consistency} is none that this release knows",
            reason="CONSISTENCY_INVALID",
            field="consistency",
        )
    return False


class StateService(CheckpointsService, WatchService, StateServiceServicer):
    """The RPCs of statesidecar.v1.StateService; those of later releases answer CAPABILITY_MISSING."""

    def __init__(
        self,
        engine: Engine,
        *,
        admission: Admission,
        commits: Commits,
        watches: Watches,
        streams: Streams,
        submit: Callable[[Iterable[Followup]], None],
        read_timeout_s: float,
        mode: Callable[[], ServingMode | None] = lambda: None,
    ) -> None:
        """`mode` answers the daemon's, which errors carry; None: they carry none."""
        self.admission = admission
        self.mode = mode
        self._engine = engine
        self._reads = engine.reads
        self._writes = engine.writes
        self._checkpoints = engine.checkpoints
        self._message_bytes_max = engine.limits.message_bytes_max
        self._commits = commits
        self._watches = watches
        self._streams = streams
        self._submit = submit
        self._read_timeout_s = read_timeout_s
        self._time = asyncio.get_running_loop().time

    def _deadline(self, context: Context) -> float:
        return self._time() + patience(context, self._read_timeout_s)

    def _owed(self, read: Read) -> tuple[Lookup, ...]:
        if read.followups:
            self._submit(read.followups)
        return read.lookups

    @rpc
    async def Get(self, request: pb.GetRequest, context: Context) -> pb.GetResponse | large.CarriedResponse:
        read = await self._reads.get(
            request.namespace,
            (request.key,),
            floors=(request.min_version,),
            strong=_strong(request.consistency),
            deadline=self._deadline(context),
            max_schema_version=request.max_schema_version,
        )
        [found] = self._owed(read)
        entry = found.entry
        beside = entry if entry is not None and len(entry.value) >= large.CARRIED_BYTES else None
        response = pb.GetResponse(
            entry=None if entry is None or beside is not None else convert.entry(entry),
            mode=convert.wire(found.mode),
            served_by=convert.wire(found.tier),
            stale_possible=found.stale_possible,
        )
        return response if beside is None else large.CarriedResponse(response, beside)

    @rpc
    async def BatchGet(self, request: pb.BatchGetRequest, context: Context) -> pb.BatchGetResponse:
        if request.min_versions and len(request.min_versions) != len(request.keys):
            raise InvalidRequest(
                f"{len(request.min_versions)} min_versions for {len(request.keys)} keys: give none, or one for each",
                reason="MIN_VERSIONS_INVALID",
                field="min_versions",
            )
        read = await self._reads.get(
            request.namespace,
            tuple(request.keys),
            floors=tuple(request.min_versions) or (0,) * len(request.keys),
            strong=_strong(request.consistency),
            deadline=self._deadline(context),
            max_schema_version=request.max_schema_version,
        )
        lookups = self._owed(read)
        if request.packed:
            return packing.packed(lookups, self._message_bytes_max)
        size = sum(len(found.entry.value) for found in lookups if found.entry is not None)
        packing.check_size(size, self._message_bytes_max)
        response = pb.BatchGetResponse(mode=convert.wire(packing.weakest(lookups)[0]))
        for key, found in zip(request.keys, lookups, strict=True):
            convert.fill_result(response.results.add(key=key), found)
        return response

    @rpc
    async def List(self, request: pb.ListRequest, context: Context) -> pb.ListResponse:
        listed = await self._reads.list(
            request.namespace,
            request.key_prefix,
            page_size=request.page_size,
            page_token=request.page_token,
            keys_only=request.keys_only,
            deadline=self._deadline(context),
            max_schema_version=request.max_schema_version,
        )
        return pb.ListResponse(
            entries=[convert.entry(entry) for entry in listed.entries],
            next_page_token=listed.next_page_token,
            mode=convert.wire(listed.mode),
        )

    async def _write(
        self,
        request: pb.SetRequest | pb.CASRequest | pb.DeleteRequest | pb.UpdateRequest,
        operation: Operation,
        context: Context,
        *,
        needs_authority: bool,
    ) -> Written:
        namespace, write_id = request.namespace, await large.write_id(request)
        outbox = convert_outbox.carried(request.outbox, 0) if request.outbox else ()
        return await self._commits.run(
            context,
            lambda deadline: self._writes.write(
                namespace,
                (operation,),
                request=write_id,
                needs_authority=needs_authority,
                deadline=deadline,
                outbox=outbox,
            ),
        )

    @rpc
    async def Set(self, request: pb.SetRequest, context: Context) -> pb.SetResponse:
        written = await self._write(request, convert.put(request), context, needs_authority=False)
        return convert.set_response(written, written.results[0])

    @rpc
    async def CAS(self, request: pb.CASRequest, context: Context) -> pb.CASResponse:
        written = await self._write(request, convert.put(request), context, needs_authority=True)
        return convert.cas_response(written, written.results[0])

    @rpc
    async def Delete(self, request: pb.DeleteRequest, context: Context) -> pb.DeleteResponse:
        written = await self._write(request, convert.remove(request), context, needs_authority=True)
        return convert.delete_response(written, written.results[0])

    @rpc
    async def Update(self, request: pb.UpdateRequest, context: Context) -> pb.UpdateResponse:
        written = await self._write(request, convert.change(request), context, needs_authority=False)
        return convert.update_response(written, written.results[0])

    @rpc
    async def Transact(self, request: pb.TransactRequest, context: Context) -> pb.TransactResponse:
        operations, write_id = convert.operations(request), convert.write_id(request, request.request_id)
        outbox = convert_outbox.transaction_outbox(request)
        written = await self._commits.run(
            context,
            lambda deadline: self._writes.transact(
                request.namespace, operations, request=write_id, deadline=deadline, outbox=outbox
            ),
        )
        return convert.transact_response(request, written)

    @rpc
    async def Touch(self, request: pb.TouchRequest, context: Context) -> pb.TouchResponse:
        ttl_ms = convert.optional_ttl_ms(request)
        touched = await self._commits.run(
            context, lambda _: self._writes.touch(request.namespace, request.key, ttl_ms=ttl_ms)
        )
        return pb.TouchResponse(
            found=touched.found,
            expire_time=convert.optional_timestamp(touched.expire_time),
            mode=convert.wire(touched.mode),
        )

    @rpc
    async def DeletePrefix(self, request: pb.DeletePrefixRequest, context: Context) -> pb.DeletePrefixResponse:
        write_id = convert.write_id(request, request.request_id)
        deleted = await self._commits.run(
            context,
            lambda _: self._writes.delete_prefix(
                request.namespace, request.key_prefix, all_keys=request.all, request=write_id
            ),
        )
        return pb.DeletePrefixResponse(
            deleted_count=deleted.deleted_count,
            mode=convert.wire(deleted.mode),
        )

    async def Connect(self, _requests: Any, context: Context) -> None:
        await self._streams.serve(context)
