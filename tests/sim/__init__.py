"""The seeded simulation: the production engine of several sidecars over one faulty authority and one faulty cache.

The rule that makes a seed replay: **randomness and time come only from the harness.** Everything that happens follows
from the seed. There is one `random.Random(seed)` and one `ManualClock` a world; tasks are stepped one at a time by
`scheduler.Scheduler`, which draws who goes next; no event loop, no thread, no wall clock, no `hash()` or `id()` that
reaches a decision or the trace, no iteration over a set. The engine keeps its side of the rule by construction: it
imports no event loop and gets time, waiting and tokens as ports. `test_simulation.py` runs seeds twice, under different
hash seeds, and compares the hashes of their traces.

    scheduler   tasks, processes that crash and pause, virtual time
    plan        what a seed switches on (swarm testing: a random subset of faults, operations, sizes)
    faults      the network: the production stores behind lost requests, lost replies, delays, late effects
    sidecars    the production engine, repairer, followups and sweeps in a process that can die
    clients     what callers do, and what each answer lets them conclude
    nemesis     crashes, pauses, outages, evictions, flushes, rollbacks, drains
    model       what operations do, told once more without production code
    truth       what the authority really did, effect by effect, and the checks against it
    promises    the promises of the architecture by name; `require` is the only way to check one
    world       one seed from beginning to end
    runs        many seeds over processes; the report
    mutants     deliberately wrong protocols, each of which some seed must catch
"""
