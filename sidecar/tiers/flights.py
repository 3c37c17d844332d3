"""Single flight: concurrent misses of a key in this process share one read of the authority."""

from __future__ import annotations

from sidecar.core.entry import Copy
from sidecar.core.ports import Ports, Signal


class Flight:
    """One read under way. `landed` with the state it found, or failed with `error`, or abandoned by its leader."""

    __slots__ = ("copy", "error", "landed", "signal")

    def __init__(self, signal: Signal) -> None:
        self.signal = signal
        self.landed = False
        self.copy: Copy | None = None
        self.error: Exception | None = None


class Flights:
    """The reads under way, by namespace and key. Bounded by the requests that the daemon admits."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._flights: dict[tuple[str, str], Flight] = {}

    def of(self, namespace: str, key: str) -> Flight | None:
        """The read of a key that is under way."""
        return self._flights.get((namespace, key))

    def lead(self, namespace: str, keys: list[str]) -> None:
        """Say that the caller reads these keys now. It must `end` them, however its read ends."""
        for key in keys:
            self._flights[(namespace, key)] = Flight(self._ports.signal())

    def land(self, namespace: str, key: str, copy: Copy | None) -> None:
        """The read found this."""
        flight = self._flights[(namespace, key)]
        flight.copy = copy
        flight.landed = True

    def end(self, namespace: str, keys: list[str], error: Exception | None = None) -> None:
        """Wake all who wait."""
        for key in keys:
            flight = self._flights.pop((namespace, key))
            flight.error = error
            flight.signal.set()
