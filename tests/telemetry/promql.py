"""What PromQL expressions name, as far as ours do: metrics, and the labels that they are asked for or grouped by."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sidecar.telemetry.instruments import INSTRUMENTS, Form

_NAME = re.compile(r"(statesidecar[\w:]+|process_\w+|\bup\b)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_PARTS = ("_bucket", "_sum", "_count")
TARGET = frozenset({"namespace", "app", "pod", "instance", "job", "container"})
"""What scrapers add."""
_RECORDED = {"statesidecar:tier_hit:ratio_rate15m": frozenset({"tier"})}
LABELS = _RECORDED | {instrument.exposed: frozenset(instrument.labels) for instrument in INSTRUMENTS}
HISTOGRAMS = frozenset(one.exposed for one in INSTRUMENTS if one.form is Form.HISTOGRAM)


def names(expression: str) -> Iterator[tuple[str, frozenset[str]]]:
    """Each metric, by the name that its instrument has, with the labels that it is matched by; a histogram's need a part."""
    for name, matchers in _NAME.findall(expression):
        metric = next((name.removesuffix(part) for part in _PARTS if name.removesuffix(part) in HISTOGRAMS), name)
        if metric in HISTOGRAMS and metric == name:
            metric = f"{name}, of which one of {', '.join(_PARTS)} is meant"
        yield metric, frozenset(_MATCHER.findall(matchers))


def groupings(expression: str) -> frozenset[str]:
    """Labels that are grouped by or joined on."""
    return frozenset(
        label.strip() for found in _GROUPING.findall(expression) for label in found.split(",") if label.strip()
    )


def unknown_labels(expression: str) -> set[str]:
    """Labels that no metric of the expression has."""
    used, known = set(groupings(expression)), set(TARGET | {"le", "__name__"})
    for metric, matched in names(expression):
        used |= matched
        known |= LABELS.get(metric, frozenset())
    return used - known
