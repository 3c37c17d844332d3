"""From the `outbox` sections of the settings to sinks, and what is wrong with them only together with the tiers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sidecar.core.policy import Authority
from sidecar.core.ports import Clock
from sidecar.core.sinks import Sink
from sidecar.core.tracing import Tracer
from sidecar.engine.outbox import OutboxConfig
from sidecar.engine.outbox.traced import TracedSink
from sidecar.runtime.settings_sections import NO_SINK
from sidecar.runtime.settings_sources import Problem
from sidecar.sinks import build, shown
from sidecar.telemetry.destinations import destination

if TYPE_CHECKING:
    from sidecar.runtime.settings import Settings

_IN_REDIS = "an authority on Redis keeps no messages"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sinks:
    """What the URLs name, each URL once; not opened yet."""

    default: Sink | None = None
    """Of all namespaces that have none of their own; None: their messages wait for consumers."""
    named: Mapping[str, Sink | None]
    """Of those that say where their messages go; None: to consumers."""


def sinks(settings: Settings, clock: Clock, tracer: Tracer | None = None) -> Sinks:
    """The sinks of the settings. Client libraries are imported here, each only when a URL asks for it."""
    made: dict[str, Sink] = {}

    def made_once(url: str) -> Sink | None:
        if url == NO_SINK:
            return None
        if url not in made:
            sink = build(url, app=settings.app, clock=clock)
            made[url] = sink if tracer is None else TracedSink(sink, tracer, destination(shown(url)))
        return made[url]

    return Sinks(
        default=made_once(settings.outbox.sink or NO_SINK),
        named={name: made_once(url) for name, url in _own(settings).items()},
    )


def config(settings: Settings) -> OutboxConfig:
    """The numbers of a delivery."""
    return OutboxConfig(**settings.outbox.model_dump(exclude={"sink"}))


def shown_sinks(settings: Settings) -> dict[str, str]:
    """Where messages go, for people: by namespace, and under an empty name those of all others."""
    urls = {"": settings.outbox.sink or NO_SINK} | _own(settings)
    return {name: url if url == NO_SINK else shown(url) for name, url in urls.items()}


def problems(settings: Settings) -> Iterator[Problem]:
    """A sink that nothing can go to."""
    for name, url in _own(settings).items():
        if url != NO_SINK and _in_redis(settings, name):
            path = ("namespaces", name)
            text = f"{_IN_REDIS}: set authority to warm and tiers.warm to a URL, or leave this out"
            yield Problem((*path, "outbox", "sink"), text, ((*path, "authority"), (*path, "kind"), ("tiers", "warm")))


def warnings(settings: Settings) -> Iterator[str]:
    """What is allowed, and probably not meant."""
    urls = settings.tier_urls()
    if settings.outbox.sink not in (None, NO_SINK) and urls.warm == "none://" and urls.hot.startswith("redis"):
        yield f"outbox.sink has no effect: tiers.warm is none://, and {_IN_REDIS}"


def _own(settings: Settings) -> dict[str, str]:
    return {name: each.outbox.sink for name, each in settings.namespaces.items() if each.outbox.sink is not None}


def _in_redis(settings: Settings, name: str) -> bool:
    urls = settings.tier_urls()
    hot = settings.namespaces[name].policy(name).authority is Authority.HOT or urls.warm == "none://"
    return hot and urls.hot.startswith("redis")
