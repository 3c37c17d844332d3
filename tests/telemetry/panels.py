"""The dashboard's panels and queries, as Grafana would ask them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DASHBOARD: dict[str, Any] = json.loads((Path(__file__).parents[2] / "k8s/monitoring/dashboard.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
TARGET = {"namespace": "shop", "app": "till", "pod": "till-0"}
# Grafana's own; its rate interval is at least four scrapes.
GIVEN = {"__rate_interval": "30s", "__range": "1h", **TARGET}


def filled(expression: str, given: Mapping[str, str]) -> str:
    """With the values of its variables."""
    return re.sub(r"\$(\w+)", lambda found: given[found[1]], expression)


def query(title: str) -> str:
    """That of the panel with this title."""
    [expression] = [expression for panel, expression in QUERIES if panel == title]
    return filled(expression, GIVEN)
