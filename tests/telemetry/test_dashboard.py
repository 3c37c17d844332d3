"""The dashboard: a real Prometheus that scrapes a real daemon has data for every query of every panel."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servers.base import free_ports, shared
from servers.prometheus import Prometheus
from servers.redis import Valkey
from sidecar.telemetry.instruments import INSTRUMENTS
from tests.support.backends import shared_tiers
from tests.support.process import daemon_process
from tests.telemetry.load import load, settings
from tests.telemetry.panels import DASHBOARD, GIVEN, PANELS, QUERIES, TARGET, filled
from tests.telemetry.promql import names, unknown_labels
from tests.telemetry.waiting import until

ROOT = Path(__file__).parents[2]
METRICS = ROOT / "docs/metrics.md"
VARIABLES: dict[str, dict[str, Any]] = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
DATA_S = 45.0
"""A count of entries takes a second, and growth needs two; this bounds how long a failing test waits."""
PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It scrapes a daemon on Redis and PostgreSQL that is at work; where it exports to, nobody listens."""
    folder, redis, [nobody] = tmp_path_factory.mktemp("daemon"), shared(Valkey), free_ports(1)
    given = settings(redis) | {
        "tiers.cold": f"file://{folder}/cold",
        "telemetry.otlp_endpoint": f"http://127.0.0.1:{nobody}",
    }
    with (
        shared_tiers(redis=redis) as tiers,
        daemon_process(folder, **(tiers | given)) as daemon,
        load(daemon.target),
        Prometheus({daemon.http_address: TARGET}) as server,
    ):
        until(lambda: server.query("statesidecar_build_info"))
        yield server


@pytest.mark.timeout(120)
def test_every_query_of_every_panel_returns_data(prometheus: Prometheus) -> None:
    empty = list(QUERIES)

    def still_empty() -> list[tuple[str, str]]:
        empty[:] = [one for one in empty if not has_data(prometheus, filled(one[1], GIVEN))]
        return empty

    until(still_empty, lambda left: not left, within_s=DATA_S)


def has_data(prometheus: Prometheus, expression: str) -> bool:
    return any(not math.isnan(float(one["value"][1])) for one in prometheus.query(expression))


def test_requests_lead_to_their_traces(prometheus: Prometheus) -> None:
    """By exemplars, which Prometheus keeps beside the buckets."""
    [bucket] = [target["expr"] for panel in PANELS for target in panel["targets"] if target["exemplar"]][-1:]

    def exemplars() -> list[dict[str, Any]]:
        asked = {"query": filled(bucket, GIVEN), "start": "0", "end": str(2**32)}
        return [one for series in prometheus.ask("query_exemplars", **asked) for one in series["exemplars"]]

    for exemplar in until(exemplars):
        assert re.fullmatch(r"[0-9a-f]{32}", exemplar["labels"]["trace_id"])
        assert re.fullmatch(r"[0-9a-f]{16}", exemplar["labels"]["span_id"])
        assert 0 < float(exemplar["value"]) < 60


def test_the_questions_of_the_document_are_answered(prometheus: Prometheus) -> None:
    [table] = re.findall(r"### Useful questions\n(.*?)\n## ", METRICS.read_text(), re.DOTALL)
    questions = re.findall(r"\| `(.*)` \|", table)
    known = {instrument.exposed for instrument in INSTRUMENTS}

    assert len(questions) > 5
    for question in questions:
        prometheus.query(question)
        assert {name for name, _ in names(question)} <= known, question
        assert not unknown_labels(question)


def test_the_variables_find_the_daemon(prometheus: Prometheus) -> None:
    for name, value in TARGET.items():
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", VARIABLES[name]["definition"])
        assert found is not None
        answer = prometheus.ask(f"label/{found[2]}/values", **{"match[]": filled(found[1], TARGET)})
        assert answer == [value]


def test_without_a_choice_all_daemons_are_shown(prometheus: Prometheus) -> None:
    """Also those outside of Kubernetes, whose series have no such labels."""
    everything = {name: VARIABLES[name]["allValue"] for name in TARGET}
    none = dict.fromkeys(TARGET, "another")
    [modes] = [expression for title, expression in QUERIES if title == "Daemons by mode"]
    absent = modes.replace("pod=~", "nowhere=~")

    assert has_data(prometheus, filled(modes, everything))
    assert has_data(prometheus, filled(absent, everything))
    assert not has_data(prometheus, filled(modes, none))


def test_queries_name_only_metrics_and_labels_that_there_are() -> None:
    known = {instrument.exposed for instrument in INSTRUMENTS} | PROCESS

    assert {
        (title, name) for title, expression in QUERIES for name, _ in names(expression) if name not in known
    } == set()
    assert {title: unknown for title, expression in QUERIES if (unknown := unknown_labels(expression))} == {}


def test_every_instrument_is_on_it() -> None:
    shown = {name for _, expression in QUERIES for name, _ in names(expression)}

    assert {instrument.exposed for instrument in INSTRUMENTS} - shown == set()


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("rate(statesidecar_requests[5m])", "statesidecar_requests"),
        ("statesidecar_request_duration_seconds", "of which one of"),
        ("statesidecar_commit_writes_totals", "statesidecar_commit_writes_totals"),
    ],
)
def test_a_metric_that_there_is_not_is_noticed(expression: str, wrong: str) -> None:
    known = {instrument.exposed for instrument in INSTRUMENTS}

    assert any(wrong in name and name not in known for name, _ in names(expression))


def test_a_label_that_there_is_not_is_noticed() -> None:
    assert unknown_labels('sum by (tear) (statesidecar_tier_up{tier="hot"})') == {"tear"}
    assert unknown_labels('statesidecar_tier_up{state="hot"}') == {"state"}


def test_its_file_is_what_the_tool_writes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(ROOT / "tools")

    assert importlib.import_module("dashboard").main(["--check"]) == 0, capsys.readouterr().err


def test_panels_have_their_places() -> None:
    """Within Grafana's 24 columns, none over another, ids once, a legend for each query that has several series."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells

    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in PANELS:
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            assert target["legendFormat"] or " by (" not in target["expr"], panel["title"]
