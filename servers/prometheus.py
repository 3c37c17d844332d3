"""Debian's Prometheus: scrapes what it is told to, evaluates rules, and answers queries. And promtool, which checks both."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from servers.base import HOST, Server, binary

TIMEOUT_S = 10.0


class Prometheus(Server):
    """One that scrapes each second. `targets`: the labels that each address has; `rules`: files of them; `relabelings`: what
    becomes of the labels of targets, and `metric_relabelings` of the series'.
    """

    name = "prometheus"

    def __init__(
        self,
        targets: Mapping[str, Mapping[str, str]],
        *,
        rules: Sequence[Path] = (),
        relabelings: Sequence[Mapping[str, Any]] = (),
        metric_relabelings: Sequence[Mapping[str, Any]] = (),
        interval: str = "1s",
    ) -> None:
        super().__init__()
        self._targets = targets
        self._rules = rules
        self._relabelings = {
            "relabel_configs": list(relabelings),
            "metric_relabel_configs": list(metric_relabelings),
        }
        self._interval = interval

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self.port}"

    def prepare(self) -> None:
        """Write what it is to do."""
        groups = [{"targets": [address], "labels": dict(labels)} for address, labels in self._targets.items()]
        job = {"job_name": "state-sidecar", "static_configs": groups, **self._relabelings}
        configuration = {
            "global": {"scrape_interval": self._interval, "evaluation_interval": self._interval},
            "rule_files": [str(path) for path in self._rules],
            "scrape_configs": [job],
        }
        self._file.write_text(yaml.safe_dump(configuration))

    def command(self) -> Sequence[str | Path]:
        """On loopback, its data in our folder; exemplars are kept only if asked for."""
        return (
            binary("prometheus"),
            f"--config.file={self._file}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address={HOST}:{self.port}",
            "--enable-feature=exemplar-storage",
            "--log.level=warn",
        )

    def ready(self) -> None:
        """It answers a query."""
        self.query("vector(1)")

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query: each has `metric`, its labels, and `value`, a time and a text."""
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def query_range(self, expression: str, *, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """The series of a range query: `values` instead of `value`."""
        window = {"start": str(start), "end": str(end), "step": str(step)}
        found: list[dict[str, Any]] = self.ask("query_range", query=expression, **window)["result"]
        return found

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that are pending or firing."""
        found: list[dict[str, Any]] = self.ask("alerts")["alerts"]
        return found

    def ask(self, what: str, **parameters: str) -> Any:
        """An answer's `data`. https://prometheus.io/docs/prometheus/latest/querying/api/"""
        address = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=TIMEOUT_S) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as exc:
            raise ValueError(f"{parameters}: {exc.read().decode(errors='replace')}") from exc

    @property
    def _file(self) -> Path:
        return self.directory / "prometheus.yaml"


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What promtool says to a command."""
    command = [str(part) for part in (binary("promtool"), *arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
