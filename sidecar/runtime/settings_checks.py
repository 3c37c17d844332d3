"""What is wrong, or probably not meant, only when settings are seen together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sidecar.core.limits import Limits
from sidecar.core.policy import Authority, OnOutage
from sidecar.runtime import schemas, settings_access, settings_security, sinks
from sidecar.runtime.settings_sections import DEFAULT_TCP, NamespaceSettings
from sidecar.runtime.settings_sources import Problem
from sidecar.tiers.archive import LEFT_MS_MIN

if TYPE_CHECKING:
    from sidecar.runtime.settings import Settings, TierUrls


def contradictions(settings: Settings) -> Iterator[Problem]:
    """What is wrong only together with something else."""
    limits, urls = settings.request_limits(), settings.tier_urls()
    if limits.page_size_default > limits.page_size_max:
        yield Problem(
            ("limits", "page_size_default"),
            f"{limits.page_size_default} is above page_size_max, {limits.page_size_max}",
            (("limits", "page_size_max"),),
        )
    if limits.page_bytes_max > limits.message_bytes_max:
        yield Problem(
            ("limits", "page_bytes_max"),
            f"{limits.page_bytes_max} is above message_bytes_max, {limits.message_bytes_max}",
            (("limits", "message_bytes_max"),),
        )
    if settings.http_listen in (settings.listen or [DEFAULT_TCP]) and not settings.http_listen.endswith(":0"):
        yield Problem(
            ("http_listen",), f"{settings.http_listen} is taken by listen: choose another port", (("listen",),)
        )
    for name, namespace in settings.namespaces.items():
        yield from _policy_contradictions(name, namespace, limits, urls)
        yield from schemas.problems(name, namespace)
    yield from sinks.problems(settings)
    yield from settings_access.contradictions(settings.listen or [DEFAULT_TCP], settings.tls, settings.auth)
    yield from settings_security.contradictions(settings.encryption)


def _policy_contradictions(
    name: str, namespace: NamespaceSettings, limits: Limits, urls: TierUrls
) -> Iterator[Problem]:
    policy, path = namespace.policy(name), ("namespaces", name)
    kind = (*path, "kind")
    authority = namespace.authority.value
    if "authority" in namespace.model_fields_set and getattr(urls, authority) == "none://":
        text = f"the authority is {authority}, and tiers.{authority} is none://: give that a URL, or leave this out"
        yield Problem((*path, "authority"), text, (("tiers", authority),))
    if policy.sliding and policy.ttl_ms is None:
        yield Problem((*path, "sliding"), "sliding needs a ttl: set one", ((*path, "ttl"), kind))
    if policy.on_outage is OnOutage.BUFFER and (policy.authority is Authority.HOT or urls.warm == "none://"):
        text = (
            "buffer keeps writes for a warm tier that is the authority: set authority to warm and tiers.warm to a URL"
        )
        yield Problem((*path, "on_outage"), text, ((*path, "authority"), ("tiers", "warm"), kind))
    if policy.ttl_ms is not None and policy.ttl_ms > limits.ttl_ms_max:
        text = f"{policy.ttl_ms / 1000:g} s is above limits.ttl_max, {limits.ttl_ms_max / 1000:g} s"
        yield Problem((*path, "ttl"), text, (("limits", "ttl_max"), kind))
    if policy.value_bytes_max >= limits.message_bytes_max:
        text = f"{policy.value_bytes_max} does not fit into limits.message_bytes_max, {limits.message_bytes_max}"
        yield Problem((*path, "value_bytes_max"), text, (("limits", "message_bytes_max"),))

    if policy.archive_after_ms is not None and (policy.authority is Authority.HOT or not keeps_values(urls)):
        text = (
            "archive_after moves values from a warm tier that is the authority, and survives a stop, to a cold one: "
            "set authority to warm, tiers.warm and tiers.cold to URLs, or leave it out"
        )
        yield Problem(
            (*path, "archive_after"), text, ((*path, "authority"), ("tiers", "warm"), ("tiers", "cold"), kind)
        )


def keeps_values(urls: TierUrls) -> bool:
    """Whether values can be in cold: what knows of them must outlive the process, or nobody would ever delete them."""
    return urls.cold != "none://" and urls.warm not in ("none://", "memory://")


def warnings(settings: Settings) -> Iterator[str]:
    """What is allowed and probably not meant."""
    urls = settings.tier_urls()
    if urls.hot == urls.warm == "none://":
        yield "tiers.hot and tiers.warm are none://: nothing is kept, and every answer is PASSTHROUGH"
    elif urls.warm == "none://":
        yield "tiers.warm is none://: the hot tier keeps every namespace, and acknowledged writes are VOLATILE"
    elif urls.hot == "none://":
        yield "tiers.hot is none://: the warm tier keeps every namespace, also those with authority hot"
    for name, namespace in settings.namespaces.items():
        if "reconcile" in namespace.model_fields_set and namespace.on_outage is not OnOutage.BUFFER:
            yield f"namespaces.{name}.reconcile has no effect: only writes kept by on_outage buffer are reconciled"
        if namespace.near.enabled and not urls.hot.startswith("redis"):
            yield f"namespaces.{name}.near.enabled has no effect: only a hot tier on Redis tells daemons what others changed"
        yield from _cold_warnings(name, namespace, urls)
        in_redis = urls.hot.startswith("redis") and (
            namespace.policy(name).authority is Authority.HOT or urls.warm == "none://"
        )
        if namespace.checkpoint.every and in_redis:
            yield f"namespaces.{name}.checkpoint.every has no effect: an authority on Redis makes no automatic checkpoints"
        yield from schemas.warnings(name, namespace, in_redis=in_redis)
    yield from sinks.warnings(settings)
    yield from settings_access.warnings(settings.listen or [DEFAULT_TCP], settings.tls, settings.auth)


def _cold_warnings(name: str, namespace: NamespaceSettings, urls: TierUrls) -> Iterator[str]:
    policy = namespace.policy(name)
    keeps = policy.authority is Authority.WARM and keeps_values(urls)
    if "large_value_bytes" in namespace.model_fields_set and policy.large_value_bytes is not None and not keeps:
        yield f"namespaces.{name}.large_value_bytes has no effect: the tiers keep no values in cold"
    idle_ms, ttl_ms = policy.archive_after_ms, policy.ttl_ms
    if idle_ms is not None and ttl_ms is not None and ttl_ms - idle_ms < LEFT_MS_MIN:
        yield f"namespaces.{name}.archive_after has no effect: entries end with their ttl before that is worth the way"
