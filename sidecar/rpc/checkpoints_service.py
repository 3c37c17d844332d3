"""The RPCs of StateService about checkpoints."""

from __future__ import annotations

from collections.abc import Callable

from sidecar.core.modes import ServingMode
from sidecar.engine.checkpoints import Checkpoints
from sidecar.rpc import convert, convert_checkpoints
from sidecar.rpc.calls import Admission, Commits, Context, rpc
from statesidecar.v1 import state_service_pb2 as pb
from statesidecar.v1 import types_pb2


class CheckpointsService:
    """A part of StateService, which has the rest. What changes something runs to its end, whatever becomes of its caller."""

    admission: Admission
    mode: Callable[[], ServingMode | None]
    _checkpoints: Checkpoints
    _commits: Commits
    _message_bytes_max: int

    def _deadline(self, context: Context) -> float:
        raise NotImplementedError

    @rpc
    async def Checkpoint(self, request: pb.CheckpointRequest, context: Context) -> pb.CheckpointResponse:
        write_id = convert.write_id(request, request.request_id)
        record = await self._commits.run(
            context,
            lambda deadline: self._checkpoints.take(
                request.namespace,
                key=request.key,
                key_prefix=request.key_prefix,
                label=request.label,
                metadata=dict(request.metadata),
                parent_id=request.parent_id,
                request=write_id,
                deadline=deadline,
            ),
        )
        return pb.CheckpointResponse(checkpoint=convert_checkpoints.info(record), mode=types_pb2.SERVING_MODE_NORMAL)

    @rpc
    async def GetCheckpoint(self, request: pb.GetCheckpointRequest, context: Context) -> pb.GetCheckpointResponse:
        snapshot = await self._checkpoints.get(
            request.namespace, request.checkpoint_id, deadline=self._deadline(context)
        )
        return convert_checkpoints.get_response(snapshot, bytes_max=self._message_bytes_max)

    @rpc
    async def ListCheckpoints(self, request: pb.ListCheckpointsRequest, context: Context) -> pb.ListCheckpointsResponse:
        page = await self._checkpoints.list(
            request.namespace,
            key=request.key,
            key_prefix=request.key_prefix,
            page_size=request.page_size,
            page_token=request.page_token,
            deadline=self._deadline(context),
        )
        return convert_checkpoints.list_response(page)

    @rpc
    async def DeleteCheckpoint(
        self, request: pb.DeleteCheckpointRequest, context: Context
    ) -> pb.DeleteCheckpointResponse:
        await self._commits.run(
            context,
            lambda deadline: self._checkpoints.delete(request.namespace, request.checkpoint_id, deadline=deadline),
        )
        return pb.DeleteCheckpointResponse(mode=types_pb2.SERVING_MODE_NORMAL)

    @rpc
    async def Restore(self, request: pb.RestoreRequest, context: Context) -> pb.RestoreResponse:
        write_id = convert.write_id(request, request.request_id)
        restored = await self._commits.run(
            context,
            lambda deadline: self._checkpoints.restore(
                request.namespace,
                checkpoint_id=request.checkpoint_id,
                key=request.key,
                key_prefix=request.key_prefix,
                expected_version=request.expected_version if request.HasField("expected_version") else None,
                request=write_id,
                deadline=deadline,
            ),
        )
        return convert_checkpoints.restore_response(restored, bytes_max=self._message_bytes_max)
