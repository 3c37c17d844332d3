"""Bounds of requests: the last good size, and the first bad one."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from sidecar.core import limits
from sidecar.core.errors import InvalidRequest
from sidecar.core.limits import VERSION_MAX, Limits

LIMITS = Limits()

GOOD: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
    (limits.check_namespace, ("n", LIMITS)),
    (limits.check_namespace, ("n" * 128, LIMITS)),
    (limits.check_namespace, ("é" * 64, LIMITS)),
    (limits.check_namespace, ("a b/c:d", LIMITS)),
    (limits.check_key, ("k", LIMITS)),
    (limits.check_key, ("k" * 1024, LIMITS)),
    (limits.check_key, ("\U0001f680" * 256, LIMITS)),
    (limits.check_key, ("\0\n ", LIMITS)),
    (limits.check_prefix, ("", LIMITS)),
    (limits.check_prefix, ("k" * 1024, LIMITS)),
    (limits.check_value, (b"", 0)),
    (limits.check_value, (b"abc", 3)),
    (limits.check_ttl, (1, LIMITS)),
    (limits.check_ttl, (3650 * 24 * 3_600_000, LIMITS)),
    (functools.partial(limits.check_version, field="expected_version"), (0,)),
    (functools.partial(limits.check_version, field="expected_version"), (VERSION_MAX,)),
    (limits.check_request_id, ("", LIMITS)),
    (limits.check_request_id, ("é" * 64, LIMITS)),
    (limits.check_content_type, ("", LIMITS)),
    (limits.check_content_type, ("t" * 256, LIMITS)),
    (limits.check_labels, ({}, LIMITS)),
    (limits.check_labels, ({f"{n}": "v" for n in range(64)}, LIMITS)),
    (limits.check_labels, ({"é" * 64: "é" * 512}, LIMITS)),
    (limits.check_labels, ({"k": ""}, LIMITS)),
]
BAD: list[tuple[Callable[..., None], tuple[Any, ...], str, str]] = [
    (limits.check_namespace, ("", LIMITS), "NAMESPACE_INVALID", "namespace"),
    (limits.check_namespace, ("n" * 129, LIMITS), "NAMESPACE_INVALID", "namespace"),
    (limits.check_namespace, ("é" * 65, LIMITS), "NAMESPACE_INVALID", "namespace"),
    (limits.check_namespace, ("a\0", LIMITS), "NAMESPACE_INVALID", "namespace"),
    (limits.check_namespace, ("a\n", LIMITS), "NAMESPACE_INVALID", "namespace"),
    (limits.check_namespace, ("\x7f", LIMITS), "NAMESPACE_INVALID", "namespace"),
    (limits.check_key, ("", LIMITS), "KEY_INVALID", "key"),
    (limits.check_key, ("k" * 1025, LIMITS), "KEY_INVALID", "key"),
    (limits.check_key, ("\U0001f680" * 256 + "k", LIMITS), "KEY_INVALID", "key"),
    (limits.check_key, ("é" * 513, LIMITS), "KEY_INVALID", "key"),
    (limits.check_prefix, ("k" * 1025, LIMITS), "KEY_INVALID", "key_prefix"),
    (limits.check_value, (b"abcd", 3), "VALUE_TOO_LARGE", "value"),
    (limits.check_ttl, (0, LIMITS), "TTL_OUT_OF_RANGE", "ttl"),
    (limits.check_ttl, (-1, LIMITS), "TTL_OUT_OF_RANGE", "ttl"),
    (limits.check_ttl, (3650 * 24 * 3_600_000 + 1, LIMITS), "TTL_OUT_OF_RANGE", "ttl"),
    (functools.partial(limits.check_version, field="expected_version"), (-1,), "VERSION_INVALID", "expected_version"),
    (limits.check_request_id, ("r" * 129, LIMITS), "REQUEST_ID_INVALID", "request_id"),
    (limits.check_request_id, ("é" * 65, LIMITS), "REQUEST_ID_INVALID", "request_id"),
    (limits.check_content_type, ("t" * 257, LIMITS), "FIELD_TOO_LONG", "content_type"),
    (limits.check_labels, ({f"{n}": "v" for n in range(65)}, LIMITS), "LABELS_INVALID", "labels"),
    (limits.check_labels, ({"": "v"}, LIMITS), "LABELS_INVALID", "labels"),
    (limits.check_labels, ({"é" * 65: "v"}, LIMITS), "LABELS_INVALID", "labels"),
    (limits.check_labels, ({"k": "v" * 1025}, LIMITS), "LABELS_INVALID", "labels"),
]


@pytest.mark.parametrize(("check", "arguments"), GOOD)
def test_what_is_within_its_bounds_passes(check: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    check(*arguments)


@pytest.mark.parametrize(("check", "arguments", "reason", "field"), BAD)
def test_what_is_out_of_bounds_is_refused_by_its_field(
    check: Callable[..., None], arguments: tuple[Any, ...], reason: str, field: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(*arguments)

    assert (caught.value.reason, caught.value.field) == (reason, field)
    assert caught.value.metadata["field"] == field


def test_a_refusal_of_a_value_says_both_sizes() -> None:
    with pytest.raises(InvalidRequest) as caught:
        limits.check_value(b"abcd", 3)

    assert caught.value.metadata == {"field": "value", "value_bytes": "4", "value_bytes_max": "3"}
