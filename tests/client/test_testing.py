"""statesidecar.testing and the pytest fixtures, as users' own tests have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.runtime.locks import LockHeld
from statesidecar import (
    StateClient,
    Unavailable,
)
from statesidecar.testing import RunningSidecar, sidecar


def test_each_fixture_s_sidecar_is_empty_and_its_own(state_sidecar: RunningSidecar, running: RunningSidecar) -> None:
    with running.client() as elsewhere:
        elsewhere.set("session", "alice", b"theirs")

    assert state_sidecar.target != running.target
    assert not state_sidecar.client().get("session", "alice").found


def test_the_shared_fixture_s_sidecar_runs(shared_state_sidecar: RunningSidecar, key: str) -> None:
    assert shared_state_sidecar.client().set("session", key, b"v").version > 0


def test_a_unix_socket_is_a_target_too(tmp_path: Path) -> None:
    with sidecar(listen=[f"unix://{tmp_path}/s.sock"]) as started, started.client() as client:
        assert started.target.startswith("unix:")
        assert client.set("session", "alice", b"v").version > 0


def test_state_outlives_its_sidecar_in_a_data_directory_of_one_s_own(tmp_path: Path) -> None:
    with sidecar(data_dir=tmp_path) as first:
        written = first.client().set("process", "alice", b"v")
    with sidecar(data_dir=tmp_path) as second:
        found = second.client().get("process", "alice")

    assert (found.value, found.version) == (b"v", written.version)


def test_a_stopped_sidecar_is_unavailable_and_stops_once() -> None:
    with sidecar() as started:
        target = started.target
        started.stop()
        started.stop()

    with StateClient(target, timeout_s=0.5) as client, pytest.raises(Unavailable):
        client.set("session", "alice", b"v")


def test_what_keeps_a_sidecar_from_starting_is_raised(tmp_path: Path) -> None:
    with (
        sidecar(data_dir=tmp_path),
        pytest.raises(LockHeld),
        sidecar(data_dir=tmp_path),
    ):
        pytest.fail("two daemons on one data directory")
