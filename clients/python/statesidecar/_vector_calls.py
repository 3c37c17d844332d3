"""The calls about vectors as plans; what is common to all calls is in _calls.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from statesidecar import errors, vectors
from statesidecar._effects import Plan
from statesidecar._outbox_calls import OutboxCalls
from statesidecar.errors import InvalidRequest
from statesidecar.outbox import OutboxMessage
from statesidecar.types import Consistency, Ttl, WriteResult
from statesidecar.v1 import state_service_pb2 as pb

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike

PAGE_KEYS_MAX: Final = 1000
"""What a BatchGet takes."""


class VectorCalls(OutboxCalls):
    """Arrays of numbers, read many at once."""

    def vectors(
        self,
        namespace: str,
        keys: Iterable[str],
        *,
        dtype: DTypeLike = "float32",
        dim: int | Sequence[int] | None = None,
        fill: float = 0.0,
        consistency: Consistency = Consistency.CACHED,
        max_schema_version: int = 0,
        timeout_s: float | None = None,
    ) -> Plan[vectors.Vectors]:
        """Reads any number of keys into one numpy array of shape (keys, dim), in their order; not a snapshot.

        A key that is not there is no error: `missing` says so, and its row is all `fill`. `dim` is the length of a row, or
        its shape; None: that of the first value that is there (0 if none is). More than 1,000 keys, or more bytes than fit
        one response, are read a page at a time. Raises FailedPrecondition (TENSOR_MISMATCH) with `metadata["key"]` for a
        value of another dtype or shape, or whose size does not fit; a value whose content type says nothing fits by its
        size. Needs numpy: the extra `vectors`.
        """
        kind, shape = vectors.element(dtype), vectors.shape_of(dim)
        deadline = self._deadline(timeout_s)
        names = list(keys)
        replies: list[pb.BatchGetResponse] = []
        begin, size = 0, PAGE_KEYS_MAX
        while begin < len(names) or not replies:
            page = names[begin : begin + size]
            try:
                reply = yield from self._batch(namespace, page, consistency, max_schema_version, deadline, packed=True)
            except InvalidRequest as error:
                if error.reason != errors.RESPONSE_TOO_LARGE or len(page) == 1:
                    raise
                size = len(page) // 2
                continue
            self.floors.observe_all(namespace, page, reply.packed.versions)
            replies.append(reply)
            begin += len(page)
        return vectors.gather(names, replies, kind=kind, shape=shape, fill=fill)

    def set_vector(
        self,
        namespace: str,
        key: str,
        array: ArrayLike,
        *,
        dtype: DTypeLike | None = None,
        expected_version: int | None = None,
        schema_version: int = 0,
        labels: Mapping[str, str] | None = None,
        ttl: Ttl | None = None,
        outbox: Sequence[OutboxMessage] = (),
        request_id: str | None = None,
        timeout_s: float | None = None,
    ) -> Plan[WriteResult]:
        """Writes an array, as `vectors` reads it; `dtype` None: the array's own, float64 for Python's numbers.

        With `expected_version` as `cas` would (0: only if the key does not exist), else whatever was there. Raises
        InvalidRequest (DTYPE_INVALID, SHAPE_INVALID) for what is no array of numbers. Needs numpy: the extra `vectors`.
        """
        value, content_type = vectors.encode(array, dtype)
        if expected_version is None:
            write = self.set(
                namespace,
                key,
                value,
                content_type=content_type,
                schema_version=schema_version,
                labels=labels,
                ttl=ttl,
                outbox=outbox,
                request_id=request_id,
                timeout_s=timeout_s,
            )
        else:
            write = self.cas(
                namespace,
                key,
                value,
                expected_version=expected_version,
                content_type=content_type,
                schema_version=schema_version,
                labels=labels,
                ttl=ttl,
                outbox=outbox,
                request_id=request_id,
                timeout_s=timeout_s,
            )
        return (yield from write)
