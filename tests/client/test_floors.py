"""The memory of versions."""

from __future__ import annotations

from statesidecar._floors import Floors


def test_only_a_newer_version_raises_a_floor() -> None:
    floors = Floors()
    floors.observe("n", "k", 5)
    floors.observe("n", "k", 3)
    floors.observe("n", "k", 0)

    assert floors.get("n", "k") == 5
    assert floors.get("other", "k") == 0


def test_the_memory_is_bounded_and_forgets_the_longest_unused() -> None:
    floors = Floors(keys_max=2)
    floors.observe("n", "a", 1)
    floors.observe("n", "b", 1)
    floors.observe("n", "a", 1)
    floors.observe("n", "c", 1)

    assert [floors.get("n", key) for key in "abc"] == [1, 0, 1]


def test_a_forgotten_floor_starts_again_lower() -> None:
    floors = Floors()
    floors.observe("n", "k", 5)
    floors.forget("n", "k")
    floors.forget("n", "k")
    floors.observe("n", "k", 2)

    assert floors.get("n", "k") == 2


def test_a_batch_is_remembered_as_each_of_its_keys_would_be() -> None:
    floors = Floors(keys_max=3)
    floors.observe("n", "a", 5)

    floors.observe_all("n", ["b", "a", "c", "d", "e"], [7, 4, 0, 8, 9])

    assert floors.get_all("n", ["a", "b", "c", "d", "e"]) == [5, 0, 0, 8, 9]
    assert floors.get_all("n", ["b", "c"]) == []
