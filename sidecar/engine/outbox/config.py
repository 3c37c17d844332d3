"""The numbers of an outbox's delivery; the settings of the section `outbox` fill them in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxConfig:
    """`in_flight_max`: messages of a relay that are published, or being published, and not yet forgotten: what a crash
    sends out twice at most. `attempts_max`: after so many refusals a message is a dead letter. `retry_delay_s`: before
    the second attempt, doubled with each. `lease_s`: after so long others deliver for a daemon that died.
    `poll_interval_s`: how often messages are looked for that nobody told of. `pending_max`: of a namespace.
    """

    in_flight_max: int = 64
    attempts_max: int = 10
    retry_delay_s: float = 0.5
    lease_s: float = 5.0
    poll_interval_s: float = 0.25
    pending_max: int = 1_000_000
    dead_letter_retention_s: float = 1_209_600.0

    @property
    def lease_ms(self) -> int:
        """The lease, as the authority's clock counts."""
        return int(self.lease_s * 1000)
