"""`state-sidecar inject`: what --check finds, what is mended and what has to be changed by people; YAML as others read it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from sidecar.cli import main
from sidecar.cli.inject import documents
from tests.k8s import pod_security

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: shop}\n"
SHOP = POD + "spec: {containers: [{name: shop, image: shop}]}\n"


def inject(text: str, *options: str) -> Result:
    return CliRunner().invoke(main, ["inject", "-f", "-", *options], input=text)


def pod_with(**spec: Any) -> str:
    return POD + yaml.safe_dump({"spec": {"containers": [{"name": "shop", "image": "shop"}]} | spec})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (pod_with(hostNetwork=True), "Pod/shop: hostNetwork: port 7421 would be the node's"),
        (pod_with(os={"name": "windows"}), "Pod/shop: the daemon runs on Linux"),
        (pod_with(containers=[]), "Pod/shop: it has no container that could call the sidecar"),
        (pod_with(containers="shop"), "Pod/shop: containers is not a list of mappings"),
        (pod_with(containers=[{"name": "shop", "env": {"a": 1}}]), "Pod/shop: env is not a list of mappings"),
        (pod_with(securityContext=[]), "Pod/shop: securityContext is not a mapping"),
        (POD + "spec: []", "Pod/shop: spec is not a mapping"),
        ("apiVersion: v1\nkind: Pod\nmetadata: shop", "Pod: metadata is not a mapping"),
        (
            pod_with(containers=[{"name": "state-sidecar"}, {"name": "shop"}]),
            "Pod/shop: it has another container called state-sidecar",
        ),
        (
            pod_with(containers=[{"name": "shop", "ports": [{"containerPort": 7421}]}]),
            "Pod/shop: container shop has port 7421",
        ),
        (
            pod_with(
                containers=[{"name": "shop", "volumeMounts": [{"name": "x", "mountPath": "/run/state-sidecar/"}]}]
            ),
            "Pod/shop: container shop has another volume at /run/state-sidecar",
        ),
        ("kind: Service\napiVersion: v1\n", "<stdin> has no workload that takes a sidecar"),
        ("", "<stdin> has no workload that takes a sidecar"),
        ("kind: Deployment\napiVersion: shop.example/v1\nspec: {}\n", "<stdin> has no workload"),
    ],
)
def test_what_has_to_be_changed_first_is_told(text: str, told: str) -> None:
    result = inject(text)

    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr.startswith(f"state-sidecar: {told}")
    assert result.stderr.count("\n") == 1


def test_a_container_that_is_not_there_is_told() -> None:
    result = inject(SHOP, "--container", "shopp")

    assert (result.exit_code, result.stderr) == (4, "state-sidecar: Pod/shop: it has no container shopp\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", "document 1: not YAML: line 1"),
        (SHOP + "---\na: {{ .Values.a }}\n", "document 2: not YAML: line 2"),
        ("a: \x00", "document 1: not YAML"),
    ],
)
def test_what_is_not_yaml_is_told_with_its_place(text: str, told: str) -> None:
    result = inject(text)

    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_check_prints_what_is_missing_and_no_manifest() -> None:
    result = inject(SHOP, "--check")

    assert result.exit_code == 1
    assert "Pod/shop: spec.initContainers: is missing" in result.stdout.splitlines()
    assert "Pod/shop: spec.containers[shop].volumeMounts: is missing" in result.stdout.splitlines()
    assert all(line.startswith("Pod/shop: ") for line in result.stdout.splitlines())


BROKEN = {
    "restartPolicy: Always": ("restartPolicy: Never", "initContainers[state-sidecar].restartPolicy: has to be Always"),
    "/healthz": ("/readyz", "initContainers[state-sidecar].livenessProbe.httpGet.path: has to be /healthz"),
    "readOnly: true": (
        "readOnly: false",
        "containers[shop].volumeMounts[state-sidecar-socket].readOnly: has to be True",
    ),
    "runAsNonRoot: true": (
        "runAsNonRoot: false",
        "initContainers[state-sidecar].securityContext.runAsNonRoot: has to be True",
    ),
    "terminationGracePeriodSeconds: 60": (
        "terminationGracePeriodSeconds: 5",
        "terminationGracePeriodSeconds: has to be 60",
    ),
    "- 10001": ("- 10002", "securityContext.supplementalGroups[10001]: is missing"),
    "privileged: false": (
        "privileged: true",
        "initContainers[state-sidecar].securityContext.privileged: has to be False",
    ),
}


@pytest.mark.parametrize("there", BROKEN)
def test_what_is_wrong_is_found_and_mended(there: str) -> None:
    wrong, told = BROKEN[there]
    good = inject(SHOP).stdout
    bad = good.replace(there, wrong, 1)
    checked = inject(bad, "--check")

    assert bad != good
    assert (checked.exit_code, checked.stdout.splitlines()) == (1, [f"Pod/shop: spec.{told}"])
    assert inject(inject(bad).stdout, "--check").exit_code == 0


def test_a_probe_of_another_kind_has_to_go() -> None:
    bad = inject(SHOP).stdout.replace(
        "httpGet:\n        path: /readyz\n        port: probes", "exec: {command: ['true']}", 1
    )

    assert "startupProbe.exec: has to go" in inject(bad, "--check").stdout
    assert "exec" not in inject(bad).stdout


def test_what_people_tuned_stays() -> None:
    document = yaml.safe_load(inject(SHOP).stdout)
    [daemon] = document["spec"]["initContainers"]
    daemon["image"] = "mine:3"
    daemon["resources"]["limits"]["memory"] = "1Gi"
    daemon["readinessProbe"]["periodSeconds"] = 30
    daemon["env"].append({"name": "STATE_SIDECAR_TIERS__WARM", "value": "memory://"})
    document["spec"]["volumes"][1] = {"name": "state-sidecar-data", "persistentVolumeClaim": {"claimName": "mine"}}
    text = yaml.safe_dump(document)

    assert inject(text).stdout == text
    assert "image: mine:4" in inject(text, "--image", "mine:4").stdout


def test_the_profile_knows_what_it_forbids() -> None:
    """The check of these tests finds each of a dozen wrongs, so that an empty list means something."""
    right = yaml.safe_load(inject(SHOP).stdout)["spec"]["initContainers"][0]
    wrongs: list[dict[str, Any]] = [
        {"privileged": True},
        {"allowPrivilegeEscalation": True},
        {"capabilities": {}},
        {"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}},
        {"runAsNonRoot": None},
        {"runAsUser": 0},
        {"seccompProfile": {"type": "Unconfined"}},
        {"procMount": "Unmasked"},
        {"seLinuxOptions": {"type": "spc_t"}},
        {"appArmorProfile": {"type": "Unconfined"}},
        {"windowsOptions": {"hostProcess": True}},
    ]
    volume = {"name": "host", "hostPath": {"path": "/"}}

    assert pod_security.violations({"containers": [right]}) == []
    for wrong in wrongs:
        pod = {"containers": [right | {"securityContext": right["securityContext"] | wrong}]}
        assert len(pod_security.violations(pod)) == 1, wrong
    assert pod_security.violations({"hostPID": True, "volumes": [volume], "containers": [right]}) == [
        "hostPID",
        "volume host",
    ]


TEXTS = st.one_of(
    st.sampled_from(
        [
            "y",
            "on",
            "1e3",
            "0o17",
            "12:30:45",
            "2020-01-01",
            "~",
            "",
            "é",
            " a ",
            "a\nb\n",
            "- x",
            "#c",
            "\x85",
            "a\u2028",
        ]
    ),
    st.text(),
)
PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=12,
)


@given(PLAIN, PLAIN, st.sampled_from([None, '"', "'", "|"]), st.booleans())
def test_a_document_comes_back_as_what_it_is_to_be(have: Any, want: Any, style: Any, flow: bool) -> None:
    """Whatever its style was, also next to what was changed."""
    text = "# head\n" + yaml.safe_dump(
        {"spec": have, "kept": have}, default_style=style, default_flow_style=flow, allow_unicode=True
    )
    have = documents.load(text)
    want = {"spec": want, "kept": have["kept"], "added": want}
    made = documents.rewritten(text, have, want)

    assert documents.load(made) == want
    assert made.startswith("# head\n")
    assert documents.rewritten(made, want, want) == made


@pytest.mark.parametrize("text", ["1e3", "y", "0o17", "0x1F", "12:30", "1_000", "+1", ".5", "N"])
def test_text_that_others_take_for_a_number_is_quoted(text: str) -> None:
    assert documents.rewritten("a: b\n", {"a": "b"}, {"a": "b", "c": text}) == f'a: b\nc: "{text}"\n'


def test_merge_keys_are_written_out_where_something_changes() -> None:
    text = "a: &a {x: 1}\nb:\n  <<: *a\n  y: 2\n"
    have = documents.load(text)
    want = have | {"b": have["b"] | {"z": 3}}

    assert documents.load(documents.rewritten(text, have, want)) == want


def test_documents_are_split_at_their_marks_only() -> None:
    text = "# a\n---\na: 1\n--- # c\nb: |\n  ---\n  x\n---\n"

    assert "".join(documents.split(text)) == text
    assert [documents.load(part) for part in documents.split(text)] == [None, {"a": 1}, {"b": "---\nx\n"}, None]


@pytest.mark.parametrize("text", ["a\x85b", "\u2028", "a\u2029\n"])
def test_unusual_ends_of_lines_stay(text: str) -> None:
    want = {"a": "b", "c": text}

    assert documents.load(documents.rewritten("a: b\n", {"a": "b"}, want)) == want
