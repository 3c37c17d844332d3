"""What a scrape of /metrics says, read as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.support.probes import probe

BUCKET = "le"


class Scrape:
    """All samples of one moment."""

    def __init__(self, text: str) -> None:
        self.samples: list[Sample] = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def of(self, name: str, **labels: str) -> list[Sample]:
        """The samples of that name that have these labels."""
        return [
            sample for sample in self.samples if sample.name == name and labels.items() <= dict(sample.labels).items()
        ]

    def value(self, name: str, **labels: str) -> float:
        """Of the only one."""
        [sample] = self.of(name, **labels)
        return float(sample.value)

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """Their sums by a label: `sum by (label) (name{labels})`."""
        sums: dict[str, float] = {}
        for sample in self.of(name, **labels):
            sums[sample.labels[label]] = sums.get(sample.labels[label], 0.0) + sample.value
        return sums

    def quantile(self, q: float, name: str, **labels: str) -> float:
        """`histogram_quantile(q, sum by (le) (name_bucket{labels}))`, as Prometheus works it out: linear within a bucket."""
        return histogram_quantile(q, self.by(f"{name}_bucket", BUCKET, **labels))


def histogram_quantile(q: float, buckets: Mapping[str, float]) -> float:
    """Of cumulative counts by upper bound."""
    ordered = [(0.0, 0.0), *sorted((float(bound), count) for bound, count in buckets.items())]
    rank = q * ordered[-1][1]
    for (lower, before), (upper, count) in pairwise(ordered):
        if count >= rank and count > before:
            return lower if upper == float("inf") else lower + (upper - lower) * (rank - before) / (count - before)
    raise AssertionError("nothing was observed")


async def scraped(address: str) -> Scrape:
    """What a daemon says now."""
    status, text = await probe(address, "/metrics")
    assert status == 200, text
    return Scrape(text)
