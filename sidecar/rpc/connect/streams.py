"""The streams of a daemon: opened while it admits, ended when it drains."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sidecar.core.errors import Draining, LimitExceeded
from sidecar.core.modes import ServingMode
from sidecar.rpc.calls import Admission, Context
from sidecar.rpc.connect.reads import GetBatches
from sidecar.rpc.connect.stream import Stream
from sidecar.rpc.measuring import UNARY
from sidecar.rpc.status import abort, as_sidecar_error


class Streams:
    """All streams. `behaviours`: those of the RPCs that calls stand for, each as its own RPC has it, by name."""

    def __init__(
        self,
        admission: Admission,
        reads: GetBatches,
        *,
        timeout_s: float,
        mode: Callable[[], ServingMode | None] = lambda: None,
    ) -> None:
        self.reads = reads
        self.timeout_s = timeout_s
        """The most that a call may take, in seconds."""
        self.behaviours: Mapping[str, UNARY] = {}
        self._admission = admission
        self._mode = mode
        self._open: set[Stream] = set()

    async def serve(self, context: Context) -> None:
        """One stream, until its end."""
        try:
            self._admission.enter_stream()
        except (Draining, LimitExceeded) as exc:
            await abort(context, exc, mode=self._mode())
        stream = Stream(self, context, getattr(context, "door", None))
        self._open.add(stream)
        try:
            await stream.serve()
        except Exception as exc:  # noqa: BLE001  # any error becomes a status
            await abort(context, as_sidecar_error(exc, "Connect"), mode=self._mode())
        finally:
            self._open.discard(stream)
            self._admission.leave_stream()

    def end(self) -> None:
        """Read nothing more; what was read is answered."""
        for stream in self._open:
            stream.end()
