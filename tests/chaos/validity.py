"""Whether a run shows anything: a run that saw too little is invalid, whatever its verdict would be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.chaos.history import Kind, Operation, Outcome

RATE_MIN = 50.0
"""Operations a second that must have been done before the first fault."""
AFTERMATH_S = 1.0
"""What is asked within so much of a fault's end has met it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Injected:
    """A fault that was done, from `begin` to `end` (monotonic, seconds). `effect` empty: none was seen."""

    kind: str
    begin: float
    end: float
    effect: str
    error: str = ""


def reasons(
    history: Sequence[Operation],
    injected: Sequence[Injected],
    *,
    begin: float,
    first_fault: float,
    rate_min: float = RATE_MIN,
) -> Iterator[str]:
    """Why the run is invalid; nothing: it is valid."""
    before = sum(begin <= call.invoke < first_fault and call.outcome is Outcome.OK for call in history)
    rate = before / (first_fault - begin)
    if rate < rate_min:
        yield f"{rate:.0f} operations a second before the first fault, {rate_min:.0f} are needed"
    if not injected:
        yield "no fault was injected"
    during = Counter(
        call.kind
        for call in history
        if any(fault.begin <= call.invoke <= fault.end + AFTERMATH_S for fault in injected)
    )
    for kind in Kind:
        if not during[kind]:
            yield f"no {kind} was done during a fault"
    for fault in injected:
        if fault.error:
            yield f"{fault.kind} failed: {fault.error}"
        elif not fault.effect:
            yield f"{fault.kind} had no effect"
