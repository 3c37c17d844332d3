"""The plan: 20 steps from what customers asked for to what is booked for whom, each made of what those before it found.

A step is a function of the calls and of the results so far, by name. It has no other memory, and the same input always
gives the same result: so a step that is repeated after a crash does no harm.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import date
from itertools import combinations
from statistics import median
from typing import Any

from examples.plan_agent.calls import Call, digest

Results = dict[str, Any]
Step = Callable[[list[Call], Results], Any]

_EPOCH = date(2019, 3, 1)
_MINUTES = {"event": 150, "table": 90, "flight": 240}
"""How long what has a time takes."""
_CANDIDATES_MAX = 5


def requests(calls: list[Call], _: Results) -> Any:
    """What was asked of which service for whom, and how many offers there were."""
    return [[call.id, call.customer, call.kind, len(call.found)] for call in calls]


def offers(calls: list[Call], _: Results) -> Any:
    """Every offer once, by id."""
    return {found["id"]: found for call in calls for found in call.found}


def sources(calls: list[Call], results: Results) -> Any:
    """Which calls each offer answered."""
    by_offer = _grouped((found["id"], call.id) for call in calls for found in call.found)
    return {offer: sorted(set(by_offer[offer])) for offer in results["offers"]}


def wishes(calls: list[Call], _: Results) -> Any:
    """What each customer wants of each service: what was said later counts."""
    merged: dict[str, dict[str, dict[str, str]]] = {}
    for call in calls:
        merged.setdefault(call.customer, {}).setdefault(call.kind, {}).update(call.wishes)
    return merged


def catalogue(_: list[Call], results: Results) -> Any:
    """Offers by kind and city."""
    return _grouped((f"{found['kind']}/{found['city']}", id) for id, found in results["offers"].items())


def calendar(_: list[Call], results: Results) -> Any:
    """Offers by day."""
    return _grouped((found["date"], id) for id, found in results["offers"].items() if found["date"])


def tariffs(_: list[Call], results: Results) -> Any:
    """What each kind costs in each city: least, median, most."""
    prices = {
        place: sorted(price for id in ids if (price := results["offers"][id]["price"]))
        for place, ids in results["catalogue"].items()
    }
    return {place: [paid[0], median(paid), paid[-1]] for place, paid in prices.items() if paid}


def demand(_: list[Call], results: Results) -> Any:
    """For how many customers each offer was found."""
    return {id: len({call.partition("/")[0] for call in calls}) for id, calls in results["sources"].items()}


def scores(_: list[Call], results: Results) -> Any:
    """How good each offer is, from 0 to 1: its rating, its price among others of the place, and that others want it, too."""
    most = max(results["demand"].values())
    told = {}
    for id, found in results["offers"].items():
        least, _median, dearest = results["tariffs"].get(f"{found['kind']}/{found['city']}", (0, 0, 0))
        cheapness = 1 - (found["price"] - least) / (dearest - least) if dearest > least else 0.5
        told[id] = round(0.5 * found["rating"] + 0.4 * cheapness + 0.1 * results["demand"][id] / most, 6)
    return told


def ranking(_: list[Call], results: Results) -> Any:
    """Offers of each kind and city, the best first."""
    return {
        place: sorted(ids, key=lambda ref: (-results["scores"][ref], ref))
        for place, ids in results["catalogue"].items()
    }


def candidates(calls: list[Call], results: Results) -> Any:
    """The best few offers for each customer and kind, of those of the customer's last call that found any."""
    last = {(call.customer, call.kind): call for call in calls if call.found and call.kind != "forecast"}
    chosen: dict[str, dict[str, list[str]]] = {}
    for (customer, kind), call in last.items():
        ids = sorted({found["id"] for found in call.found}, key=lambda ref: (-results["scores"][ref], ref))
        chosen.setdefault(customer, {})[kind] = ids[:_CANDIDATES_MAX]
    return chosen


def companions(_: list[Call], results: Results) -> Any:
    """Customers who have a candidate in common may go together."""
    at = _grouped(
        (id, customer)
        for customer, kinds in results["candidates"].items()
        for ids in kinds.values()
        for id in ids
        if results["offers"][id]["city"]
    )
    return sorted({pair for customers in at.values() for pair in combinations(sorted(set(customers)), 2)})


def groups(_: list[Call], results: Results) -> Any:
    """Companions of companions are one group."""
    leader = {customer: customer for customer in results["candidates"]}
    for one, other in results["companions"]:
        old, new = sorted((leader[one], leader[other]))[::-1]
        leader = {customer: new if led == old else led for customer, led in leader.items()}
    return _grouped((led, customer) for customer, led in leader.items())


def times(_: list[Call], results: Results) -> Any:
    """When each candidate begins and ends, in minutes since the first of March; those without a time are left out."""
    told = {}
    for id in sorted({id for kinds in results["candidates"].values() for ids in kinds.values() for id in ids}):
        found = results["offers"][id]
        if found["date"] and found["time"]:
            hours, minutes = map(int, found["time"].split(":"))
            start = (date.fromisoformat(found["date"]) - _EPOCH).days * 1440 + hours * 60 + minutes
            told[id] = [start, start + _MINUTES[found["kind"]]]
    return told


def clashes(_: list[Call], results: Results) -> Any:
    """Which candidates of a customer are at the same time."""
    told: dict[str, list[list[str]]] = {}
    for customer, kinds in results["candidates"].items():
        timed = [id for ids in kinds.values() for id in ids if id in results["times"]]
        pairs = [[a, b] for a, b in combinations(timed, 2) if _overlap(results["times"][a], results["times"][b])]
        if pairs:
            told[customer] = pairs
    return told


def schedule(_: list[Call], results: Results) -> Any:
    """One offer of each kind for each customer: the best that clashes with none taken before."""
    taken: dict[str, dict[str, str]] = {}
    for customer, kinds in results["candidates"].items():
        pairs = {frozenset(pair) for pair in results["clashes"].get(customer, ())}
        mine = taken.setdefault(customer, {})
        for kind, ids in sorted(kinds.items()):
            free = (id for id in ids if not any(frozenset((id, other)) in pairs for other in mine.values()))
            if (best := next(free, None)) is not None:
                mine[kind] = best
    return taken


def costs(_: list[Call], results: Results) -> Any:
    """What each customer pays, for as many as go."""
    told = {}
    for customer, mine in results["schedule"].items():
        wanted = results["wishes"][customer]
        seats = max(int(wished.get("number_of_seats", wished.get("passengers", 1))) for wished in wanted.values())
        told[customer] = seats * sum(results["offers"][id]["price"] for id in mine.values())
    return told


def routes(_: list[Call], results: Results) -> Any:
    """The cheapest way between each two cities by the flights that were found, with changes (Floyd and Warshall)."""
    fares: dict[tuple[str, str], int] = {}
    for found in results["offers"].values():
        if found["kind"] == "flight":
            leg = (found["origin"], found["city"])
            fares[leg] = min(found["price"], fares.get(leg, found["price"]))
    cities = sorted({city for leg in fares for city in leg})
    for via in cities:
        for start in cities:
            for end in cities:
                if start != end and (start, via) in fares and (via, end) in fares:
                    fare = fares[start, via] + fares[via, end]
                    fares[start, end] = min(fare, fares.get((start, end), fare))
    return {f"{start} - {end}": fare for (start, end), fare in sorted(fares.items())}


def itineraries(_: list[Call], results: Results) -> Any:
    """What each customer is told, in the order of time."""
    told = {}
    for customer, mine in results["schedule"].items():
        timed = sorted(mine.values(), key=lambda ref: (results["times"].get(ref, [0])[0], ref))
        told[customer] = [_line(results["offers"][id]) for id in timed] + [f"{results['costs'][customer]} dollars"]
    return told


def report(calls: list[Call], results: Results) -> Any:
    """What it all comes to, and one digest over every step's result."""
    return {
        "customers": len(results["itineraries"]),
        "calls": len(calls),
        "offers": len(results["offers"]),
        "bookings": sum(len(mine) for mine in results["schedule"].values()),
        "groups": len(results["groups"]),
        "dollars": sum(results["costs"].values()),
        "digest": digest(results),
    }


STEPS: tuple[Step, ...] = (
    *(requests, offers, sources, wishes, catalogue, calendar, tariffs, demand, scores, ranking),
    *(candidates, companions, groups, times, clashes, schedule, costs, routes, itineraries, report),
)


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    by: dict[str, list[str]] = defaultdict(list)
    for name, member in pairs:
        by[name].append(member)
    return {name: sorted(members) for name, members in sorted(by.items())}


def _overlap(one: list[int], other: list[int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _line(found: dict[str, Any]) -> str:
    when = " ".join(part for part in (found["date"], found["time"]) if part)
    where = f" in {found['city']}" if found["city"] else ""
    return f"{when + ': ' if when else ''}{found['kind']} {found['name']}{where}"
