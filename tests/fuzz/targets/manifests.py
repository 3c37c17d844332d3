"""Manifests that the sidecar is added to. They may be refused with ValueError (no YAML) and NotInjectable.

What comes out is YAML with what was wanted in it, and a second time nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from sidecar.cli.inject import documents, workloads
from sidecar.cli.inject.pods import Options, with_sidecar
from sidecar.cli.inject.workloads import NotInjectable
from tests.fuzz.drawing import Draw

_OPTIONS = (Options(), Options(image="i", config_map="c", secret="s"), Options(containers=("app",)))
_DEPLOYMENT = """\
# a comment
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  template:
    spec:
      containers:
        - name: app
          image: 'app:1'
          env: [{name: A, value: "yes"}]
---
kind: ConfigMap
"""
_SERVICE = """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: m}
spec: {predictor: {model: {modelFormat: {name: sklearn}}}}
"""


def seeds() -> Iterator[bytes]:
    yield b"\0" + _DEPLOYMENT.encode()
    yield b"\1" + _DEPLOYMENT.replace("image: 'app:1'", "image: &i a").encode()
    yield b"\1" + _SERVICE.encode()
    yield b"\2apiVersion: v1\nkind: Pod\nspec: {containers: [{name: app}]}\n"
    yield b"\0apiVersion: v1\nkind: List\nitems: [{kind: Pod, apiVersion: v1, spec: {containers: [{}]}}]\n"


def check(data: bytes) -> None:
    draw = Draw(data)
    options = draw.one_of(_OPTIONS)
    text = draw.rest().decode("utf-8", "ignore")
    parts = documents.split(text)
    assert "".join(parts) == text
    for part in parts:
        with suppress(ValueError, NotInjectable):
            have = documents.load(part)
            want, names = workloads.with_pods(have, partial(with_sidecar, options=options))
            made = documents.rewritten(part, have, want)
            if names:
                _same_again(made, want, options)
            else:
                assert made == part


def _same_again(made: str, want: object, options: Options) -> None:
    try:
        read = documents.load(made)
        again, _ = workloads.with_pods(read, partial(with_sidecar, options=options))
    except (ValueError, NotInjectable) as exc:
        raise AssertionError("what was made is refused") from exc
    assert repr(read) == repr(want), "it says something else"
    assert documents.rewritten(made, read, again) == made
