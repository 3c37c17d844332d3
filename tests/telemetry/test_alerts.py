"""The alert rules, by Prometheus' own promtool: each fires and is silent as it should, and no part of one is untested."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from servers.prometheus import promtool
from sidecar.telemetry.instruments import INSTRUMENTS
from tests.telemetry.alert_cases import CASES, OTHERS, TARGET, Case, Series
from tests.telemetry.promql import names, unknown_labels

ROOT = Path(__file__).parents[2]
RULES = ROOT / "k8s/monitoring/alerts.yaml"
RUNBOOKS = ROOT / "docs/runbooks.md"
GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
ALERTS: Mapping[str, dict[str, Any]] = {
    rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule
}
RECORDED: Mapping[str, str] = {
    rule["record"]: rule["expr"] for group in GROUPS for rule in group["rules"] if "record" in rule
}
COMPARISON = re.compile(r" (>=|==|<|>) (?!bool)")


def test_the_rules_are_rules() -> None:
    checked = promtool("check", "rules", RULES)

    assert checked.returncode == 0, checked.stderr


def test_every_alert_has_its_case() -> None:
    assert CASES.keys() == ALERTS.keys()


@pytest.mark.parametrize("name", CASES)
def test_it_fires_and_is_silent(name: str, tmp_path: Path) -> None:
    assert wrong(ALERTS[name], CASES[name], tmp_path) is None


@pytest.mark.parametrize(("name", "case"), OTHERS, ids=[name for name, _ in OTHERS])
def test_it_fires_for_its_other_reason(name: str, case: Case, tmp_path: Path) -> None:
    assert wrong(ALERTS[name], case, tmp_path) is None


@pytest.mark.parametrize("name", CASES)
def test_an_alert_that_is_wrong_is_noticed(name: str, tmp_path: Path) -> None:
    """Every comparison made always true, the whole made never true, and a `for` that is too long: each fails its case."""
    planted = dict(mutants(ALERTS[name]))

    assert len(planted) >= 2
    for what, rule in planted.items():
        assert wrong(rule, CASES[name], tmp_path), what


def mutants(rule: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Wrong rules, and what is wrong with them."""
    yield "never", rule | {"expr": f"({rule['expr']}) and vector(1) == 2"}
    if "for" in rule:
        yield "too long", rule | {"for": "3650d"}
        yield "at once", {name: value for name, value in rule.items() if name != "for"}
    for found in COMPARISON.finditer(rule["expr"]):
        before, after = rule["expr"][: found.start()], rule["expr"][found.end() :]
        # x != NaN is true, whatever x is.
        always = f"{before} != NaN * {after}"
        yield f"always: {before[-40:]} {found[1]} {after[:20]}", rule | {"expr": always}


def wrong(rule: dict[str, Any], case: Case, folder: Path) -> str | None:
    """What promtool objects to of a rule, with what it needs; None: nothing."""
    recorded = [{"record": name, "expr": RECORDED[name]} for name in RECORDED if name in rule["expr"]]
    rules, tests = folder / "rules.yaml", folder / "tests.yaml"
    # JSON is YAML.
    rules.write_text(json.dumps({"groups": [{"name": "one", "rules": [*recorded, rule]}]}))
    told = [_test(rule, case, case.fires, case.at, _labels(rule, case))]
    told += [_test(rule, case, series, case.at, None) for series in case.silent]
    told += [] if case.early is None else [_test(rule, case, case.fires, case.early, None)]
    every = f"{case.step}m"
    tests.write_text(json.dumps({"rule_files": [str(rules)], "evaluation_interval": every, "tests": told}))
    done = promtool("test", "rules", tests)
    assert "got:" in done.stdout + done.stderr or done.returncode == 0, done.stdout + done.stderr
    return None if done.returncode == 0 else done.stdout + done.stderr


def _labels(rule: dict[str, Any], case: Case) -> Mapping[str, str]:
    target = ("namespace", "app") if case.of_app else ("namespace", "app", "pod", "instance")
    return {name: TARGET[name] for name in target} | dict(case.labels) | {"severity": rule["labels"]["severity"]}


def _test(
    rule: dict[str, Any], case: Case, series: Series, at: int, labels: Mapping[str, str] | None
) -> dict[str, Any]:
    """One of promtool's: whether the alert fires then, and of what it tells."""
    kept = ", ".join(sorted(labels or TARGET))
    firing = f'count by ({kept}) (ALERTS{{alertname="{rule["alert"]}",alertstate="firing"}})'
    expected = [] if labels is None else [{"labels": _selector("", labels), "value": 1}]
    return {
        "interval": f"{case.step}m",
        "input_series": [{"series": _targeted(name), "values": values} for name, values in series.items()],
        "promql_expr_test": [{"expr": firing, "eval_time": f"{at}m", "exp_samples": expected}],
    }


def _targeted(series: str) -> str:
    name, _, rest = series.partition("{")
    own = dict(re.findall(r'(\w+)="([^"]*)"', rest))
    return _selector(name, TARGET | own)


def _selector(name: str, labels: Mapping[str, str]) -> str:
    return name + "{" + ",".join(f'{label}="{value}"' for label, value in labels.items()) + "}"


def test_the_error_ratio_counts_what_the_daemon_failed(tmp_path: Path) -> None:
    """Of 100 requests a minute 2 are its own failures, 30 the callers' doing."""
    of = 'statesidecar_request_duration_seconds_count{rpc="Get",outcome="%s"}'
    given = {of % "ok": "0+68x10", of % "unavailable": "0+1x10", of % "internal": "0+1x10"}
    callers = {of % outcome: "0+10x10" for outcome in ("aborted", "cancelled", "invalid_argument")}
    series = [{"series": _targeted(name), "values": values} for name, values in (given | callers).items()]
    labels = {name: TARGET[name] for name in ("namespace", "app", "pod", "instance")}
    name = "statesidecar:request_errors:ratio_rate5m"
    expected = [{"labels": _selector(name, labels), "value": 0.02}]
    only_good = [{"series": _targeted(of % "ok"), "values": "0+68x10"}]
    none = [{"labels": _selector(name, labels), "value": 0}]
    tests = tmp_path / "tests.yaml"
    told = [
        {
            "interval": "1m",
            "input_series": one,
            "promql_expr_test": [{"expr": name, "eval_time": "8m", "exp_samples": told}],
        }
        for one, told in ((series, expected), (only_good, none))
    ]
    tests.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": told}))

    done = promtool("test", "rules", tests)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_window_of_the_error_ratio_is_computed_the_same_way() -> None:
    ratios = {name.rpartition("_rate")[2]: expr for name, expr in RECORDED.items() if "request_errors" in name}

    assert ratios.keys() == {"5m", "30m", "1h", "2h", "6h", "1d", "3d"}
    assert {expr.replace(f"[{window}]", "[5m]") for window, expr in ratios.items()} == {ratios["5m"]}


@pytest.mark.parametrize("name", ALERTS)
def test_it_says_what_an_operator_needs(name: str) -> None:
    rule = ALERTS[name]
    told = rule["annotations"]

    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert told.keys() == {"summary", "description", "runbook_url"}
    assert told["runbook_url"] == f"docs/runbooks.md#{name.lower()}"
    assert "$labels.pod" in told["description"]
    for label in CASES[name].labels:
        assert f"$labels.{label}" in told["description"], label


def test_every_alert_has_a_section_of_the_runbooks_and_every_section_an_alert() -> None:
    sections = re.findall(r"^## (StateSidecar\w+)$", RUNBOOKS.read_text(), re.MULTILINE)

    assert sections == list(ALERTS)


def test_rules_name_only_metrics_and_labels_that_there_are() -> None:
    rules = [rule for group in GROUPS for rule in group["rules"]]
    texts = [text for rule in rules for text in (rule["expr"], rule.get("annotations", {}).get("description", ""))]
    named = {metric for text in texts for metric, _ in names(text)}
    known = {instrument.exposed for instrument in INSTRUMENTS}

    assert named
    assert named <= known | RECORDED.keys() | {"up"}
    assert {rule.get("alert"): unknown for rule in rules if (unknown := unknown_labels(rule["expr"]))} == {}


def test_a_misspelt_rule_is_refused(tmp_path: Path) -> None:
    planted = copy.deepcopy(GROUPS)
    planted[1]["rules"][0]["expr"] += ")"
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps({"groups": planted}))

    assert promtool("check", "rules", file).returncode
