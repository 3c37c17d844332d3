"""What the plan works on: calls of services in dialogues, and what the services offered."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SAMPLE = Path(__file__).parent / "data" / "calls.jsonl"

# Where each service has the fields of an offer; "" where it has none. Ratings are out of the last number.
_FIELDS = {
    "Events_1": ("event", "event_name", "city_of_event", "time", "", "", 1),
    "Flights_3": ("flight", "airlines", "destination_city", "outbound_departure_time", "price", "", 1),
    "Hotels_4": ("hotel", "place_name", "location", "", "price_per_night", "star_rating", 5),
    "Media_2": ("rental", "movie_name", "", "", "price", "", 1),
    "Movies_2": ("movie", "title", "", "", "", "aggregate_rating", 10),
    "Restaurants_2": ("table", "restaurant_name", "location", "time", "", "rating", 5),
    "Weather_1": ("forecast", "city", "city", "", "", "", 1),
}


@dataclass(frozen=True)
class Call:
    """A call of a service, for a customer: the dialogue it was made in."""

    id: str
    customer: str
    kind: str
    wishes: dict[str, str]
    found: list[dict[str, Any]]
    """Offers, each in the one form of `offer`."""


def read_calls(file: Path) -> list[Call]:
    """The calls of a file of dialogues, or of one with a call in each line as data/calls.jsonl has them."""
    with file.open() as lines:
        return [_call(row) for line in lines for row in _rows(json.loads(line))]


def offer(service: str, result: dict[str, str]) -> dict[str, Any]:
    """A result of any service in one form. Equal offers have equal ids, whoever they were found for."""
    kind, name, city, time, price, rating, rating_max = _FIELDS[service]
    told = {
        "kind": kind,
        "name": result[name],
        "city": result.get(city, ""),
        "origin": result.get("origin_city", ""),
        "date": result.get("date", result.get("departure_date", "")),
        "time": result.get(time, ""),
        "price": int(result.get(price, 0)),
        "rating": round(float(result.get(rating, 0)) / rating_max, 3),
    }
    return {"id": digest(result | {"service": service})[:12], **told}


def digest(value: Any) -> str:
    """Of a JSON value, whatever the order of its members."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _rows(line: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "turns" not in line:
        yield line
        return
    for number, turn in enumerate(line["turns"]):
        for frame in turn["frames"]:
            if "service_call" in frame:
                yield {"dialogue_id": line["dialogue_id"], "turn": number, **frame}


def _call(row: dict[str, Any]) -> Call:
    service = row["service"]
    return Call(
        id=f"{row['dialogue_id']}/{row['turn']}",
        customer=row["dialogue_id"],
        kind=_FIELDS[service][0],
        wishes=row["service_call"]["parameters"],
        found=[offer(service, result) for result in row["service_results"]],
    )
