"""The calls about checkpoints as plans; what is common to all calls is in _calls.py."""

from __future__ import annotations

from collections.abc import Mapping

from statesidecar import _replies
from statesidecar._calls import Calls, given_or_new
from statesidecar._effects import Plan
from statesidecar.checkpoints import Checkpoint, CheckpointContent, RestoreResult
from statesidecar.v1 import state_service_pb2 as pb


class CheckpointCalls(Calls):
    """The calls of the daemon's RPCs about checkpoints. No value crosses the wire, except in `get_checkpoint` and `restore`."""

    def checkpoint(
        self,
        namespace: str,
        *,
        key: str = "",
        key_prefix: str = "",
        label: str = "",
        metadata: Mapping[str, str] | None = None,
        parent_id: str = "",
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Plan[Checkpoint]:
        """Keeps a key, or all keys under a prefix, as they are at one moment; on the server.

        `parent_id` empty: it continues the latest checkpoint of the key or prefix, or the one that was restored last.
        """
        request = pb.CheckpointRequest(
            namespace=namespace,
            key=key,
            key_prefix=key_prefix,
            label=label,
            metadata=metadata or {},
            parent_id=parent_id,
            request_id=given_or_new(request_id),
        )
        reply = yield from self._write("Checkpoint", request, timeout_s)
        return _replies.checkpoint(namespace, reply.checkpoint)

    def get_checkpoint(
        self, namespace: str, checkpoint_id: str, *, timeout_s: float | None = None
    ) -> Plan[CheckpointContent]:
        """Reads a checkpoint with its entries. Raises NotFound, and DataLoss if they are not what was kept."""
        request = pb.GetCheckpointRequest(namespace=namespace, checkpoint_id=checkpoint_id)
        reply = yield from self._send("GetCheckpoint", request, self._deadline(timeout_s))
        return _replies.checkpoint_content(namespace, reply)

    def checkpoints_page(
        self, namespace: str, page_token: str, *, key: str, key_prefix: str, page_size: int, timeout_s: float | None
    ) -> Plan[tuple[list[Checkpoint], str]]:
        """One page of `list_checkpoints`, and the token of the next; empty: there is none."""
        request = pb.ListCheckpointsRequest(
            namespace=namespace, key=key, key_prefix=key_prefix, page_size=page_size, page_token=page_token
        )
        reply = yield from self._send("ListCheckpoints", request, self._deadline(timeout_s))
        return [_replies.checkpoint(namespace, found) for found in reply.checkpoints], reply.next_page_token

    def delete_checkpoint(self, namespace: str, checkpoint_id: str, *, timeout_s: float | None = None) -> Plan[None]:
        """Deletes a checkpoint; others that were stored as a change of it stay whole. Raises NotFound if there is none."""
        request = pb.DeleteCheckpointRequest(namespace=namespace, checkpoint_id=checkpoint_id)
        yield from self._send("DeleteCheckpoint", request, self._deadline(timeout_s), request_id="", deletes=True)

    def restore(
        self,
        namespace: str,
        *,
        checkpoint_id: str = "",
        key: str = "",
        key_prefix: str = "",
        expected_version: int | None = None,
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Plan[RestoreResult]:
        """Writes a checkpoint's entries back, with a new version: one by its id, or the latest of a key or prefix.

        Of a prefix, keys that were made since are deleted, in the same commit. `expected_version`: what the key has now,
        for a checkpoint of one key; 0: it is absent. Raises VersionConflict if it has another, NotFound, and DataLoss if
        the entries are not what was kept.
        """
        request = pb.RestoreRequest(
            namespace=namespace,
            key=key,
            key_prefix=key_prefix,
            checkpoint_id=checkpoint_id,
            expected_version=expected_version,
            request_id=given_or_new(request_id),
        )
        reply = yield from self._write("Restore", request, timeout_s)
        result = _replies.restored(reply)
        for entry in result.entries:
            self.floors.observe(namespace, entry.key, entry.version)
        return result
