"""How long a transaction may take on the server, should nobody be there any more to end it."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.stores.postgres.queries import Queries
from sidecar.stores.postgres.wire import Call

BYTES_PER_S = 8 << 20
"""The slowest way to the server that large values are given time for."""
_PLANS = {
    False: b"auto",
    # Left to itself the server plans a batch's statements for each batch anew, because it knows how long these arrays are
    # and guesses others to be longer: a fifth of the time that a lone write takes.
    True: b"force_generic_plan",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Seconds: for one lock, for one statement, between two statements of a transaction, and for the server's silence."""

    lock_s: float
    statement_s: float
    idle_s: float
    silence_s: float

    @classmethod
    def within(cls, timeout_s: float, *, size: int = 0) -> Bounds:
        """So that the server says what held it up before we stop waiting; `size` is the bytes that go either way."""
        transfer_s = size / BYTES_PER_S
        return cls(
            lock_s=timeout_s / 4,
            statement_s=timeout_s * 3 / 4 + transfer_s,
            idle_s=timeout_s * 2 + transfer_s,
            silence_s=timeout_s + transfer_s,
        )

    def for_writing(self, queries: Queries, *, pointed: bool = False) -> Call:
        """The second statement of a transaction; `pointed`: its statements have one good plan, whatever is asked for."""
        return queries["bound transaction"], (*self._for_any, _milliseconds(self.idle_s), _PLANS[pointed])

    def for_reading(self, queries: Queries, *, pointed: bool = False) -> Call:
        """The first statement of a read; `pointed` as above."""
        return queries["begin reading"], (*self._for_any, _PLANS[pointed])

    @property
    def _for_any(self) -> tuple[bytes, bytes]:
        return _milliseconds(self.lock_s), _milliseconds(self.statement_s)


def _milliseconds(seconds: float) -> bytes:
    return b"%d" % max(1, round(seconds * 1000))
