"""Writes k8s/monitoring/dashboard.json, the Grafana dashboard (Grafana 10 or later), or fails if it is not what this says.

    python tools/dashboard.py --write | --check

`METRIC{…}` in an expression is of the daemons that are chosen at the top: the braces get their labels.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dashboard_panels import DAEMON, ROWS, Panel

FILE = Path(__file__).resolve().parent.parent / "k8s/monitoring/dashboard.json"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
ROW_HEIGHT, PANEL_HEIGHT, STAT_HEIGHT = 1, 8, 4
_METRIC = re.compile(r"\b(statesidecar_\w+|process_\w+)(?:\{([^}]*)\})?")


@dataclass(slots=True)
class Grid:
    """Where the next panel goes: from left to right, then below."""

    x: int = 0
    y: int = 0
    height: int = 0

    def place(self, width: int, height: int) -> dict[str, int]:
        """Grafana's gridPos."""
        if self.x + width > COLUMNS:
            self.end_line()
        at = {"x": self.x, "y": self.y, "w": width, "h": height}
        self.x, self.height = self.x + width, max(self.height, height)
        return at

    def end_line(self) -> None:
        """Go on below."""
        self.x, self.y, self.height = 0, self.y + self.height, 0


def main(arguments: list[str]) -> int:
    """0: fresh, or written. 1: stale. 2: usage."""
    if arguments not in (["--write"], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    text = json.dumps(dashboard(), indent=2) + "\n"
    if arguments == ["--write"]:
        FILE.write_text(text)
    elif not FILE.exists() or FILE.read_text() != text:
        print(f"{FILE.name} is stale: run `python tools/dashboard.py --write`", file=sys.stderr)
        return 1
    return 0


def dashboard() -> dict[str, Any]:
    """All of it."""
    return {
        "uid": "state-sidecar",
        "title": "state-sidecar",
        "description": "Requests, tiers, conflicts, sizes, outbox, journal and cleaning of state-sidecar daemons.",
        "tags": ["state-sidecar"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": list(_variables())},
        "panels": list(_panels()),
    }


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1}
    chosen: list[str] = []
    for name in DAEMON:
        matchers = ",".join(f'{before}=~"${before}"' for before in chosen)
        query = f"label_values(statesidecar_build_info{{{matchers}}}, {name})"
        yield {
            "name": name,
            "label": name,
            "type": "query",
            "datasource": SOURCE,
            "query": {"query": query, "refId": name},
            "definition": query,
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            # Also a daemon outside of Kubernetes, that has no such label.
            "allValue": ".*",
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        }
        chosen.append(name)


def _panels() -> Iterator[dict[str, Any]]:
    grid, number = Grid(), 0
    for title, panels in ROWS:
        grid.end_line()
        number += 1
        at = grid.place(COLUMNS, ROW_HEIGHT)
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": at, "panels": []}
        for panel in panels:
            number += 1
            yield _panel(number, panel, grid.place(panel.width, STAT_HEIGHT if panel.type == "stat" else PANEL_HEIGHT))


def _panel(number: int, panel: Panel, at: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.unit == "percentunit":
        defaults |= {"min": 0, "max": 1}
    return {
        "id": number,
        "type": panel.type,
        "title": panel.title,
        "description": panel.description,
        "gridPos": at,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _options(panel),
        "targets": [
            {
                "refId": chr(ord("A") + place),
                "datasource": SOURCE,
                "expr": chosen(expression),
                "legendFormat": legend,
                "range": panel.type != "stat",
                "instant": panel.type == "stat",
                "exemplar": panel.exemplars,
            }
            for place, (expression, legend) in enumerate(panel.queries)
        ],
    }


def _options(panel: Panel) -> dict[str, Any]:
    if panel.type == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": "value_and_name", "colorMode": "none"}
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
    return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}


def chosen(expression: str) -> str:
    """The expression, of the chosen daemons only."""
    ours = ",".join(f'{name}=~"${name}"' for name in DAEMON)
    return _METRIC.sub(
        lambda found: f"{found[1]}{{{','.join(part for part in (found[2], ours) if part)}}}",
        " ".join(expression.split()),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
