"""What is wrong, in words: each line of a verdict is one violation of a promise, with its evidence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.chaos import versions
from tests.chaos.audit import Evidence, audit
from tests.chaos.deployment import CANARY, NAMESPACES, Deployment
from tests.chaos.history import Operation, Outcome, by_key
from tests.chaos.inspection import Stale
from tests.chaos.linearizability import Verdict
from tests.chaos.register import Register, of_register

SHOWN_MAX = 3
"""Examples of one kind of violation; the others are counted."""
FILES_MORE_MAX = 10
FILES = re.compile(r"\.?lock|state\.sock(\.lock)?|daemon\.lock|journal(/.*)?|cold(/.*)?")
STEPS_MAX = 300_000
ENOUGH = 10
"""Keys that are wrong, or undecided, after which no others are searched: a search that fails takes long."""
BUGS = frozenset({"INTERNAL", "ENTRY_CORRUPT", "STORE_CORRUPT"})


def of_copies(stale: Sequence[Stale]) -> list[str]:
    """Copies that differ from the authority too long after the last fault."""
    return _some("stale copy", map(str, stale))


def of_closing(closing: Iterable[Operation]) -> list[str]:
    """Calls that fail when everything is well again."""
    failed = [call for call in closing if call.outcome is not Outcome.OK or call.durability not in ("COMMITTED", "")]
    return _some("a call failed after everything was healed", map(str, failed))


def of_history(history: Sequence[Operation], evidence: Evidence) -> list[str]:
    """Linearizability key by key, exact accounts of every request, and what no answer may ever say."""
    found = _some("a bug of the daemon's", (str(call) for call in history if call.error in BUGS))
    illegal: list[str] = []
    undecided: list[str] = []
    for (namespace, key), calls in by_key(history).items():
        if len(illegal) + len(undecided) >= ENOUGH:
            break
        model = Register(merging=namespace in evidence.merging)
        result = versions.check(of_register(calls, dead=frozenset(evidence.dead or ())), model, steps_max=STEPS_MAX)
        if result.verdict is Verdict.ILLEGAL:
            illegal.append(f"{namespace}/{key}: {result}")
        elif result.verdict is Verdict.UNDECIDED:
            undecided.append(f"{namespace}/{key}: {len(calls)} calls, {result.steps} steps")
    found += _some("not linearizable", illegal)
    found += _some("linearizability could not be decided", undecided)
    findings: dict[str, list[str]] = {}
    for finding in audit(history, evidence).findings:
        findings.setdefault(finding.rule, []).append(str(finding))
    return found + [line for rule, told in findings.items() for line in _some(f"audit of {rule}", told)]


def merging() -> set[str]:
    """Namespaces where buffered writes are merged."""
    return {name for name, policy in NAMESPACES.items() if policy.get("reconcile") == "merge"}


def of_leaks(deployment: Deployment, files_open: Sequence[int]) -> list[str]:
    """Files that stay open or lie about, secrets and tracebacks in what daemons say."""
    found = []
    for daemon, before in zip(deployment.daemons, files_open, strict=True):
        now = daemon.files_open()
        if now > before + FILES_MORE_MAX:
            found.append(f"daemon {daemon.number} has {now} files open, {before} in the beginning")
        said = "\n".join(daemon.lines)
        if CANARY in said:
            found.append(f"daemon {daemon.number} says a password in its log")
        for block, count in tracebacks(daemon.lines).items():
            found.append(f"daemon {daemon.number} logged a traceback {count} times: {block}")
        strange = [name for name in _files(daemon.data_dir) if not FILES.fullmatch(name)]
        if strange:
            found.append(f"daemon {daemon.number} left {', '.join(strange)} in its directory")
    return found


def tracebacks(lines: Iterable[str]) -> Counter[str]:
    """How often each was logged, whatever it says at its end."""
    blocks: dict[tuple[str, ...], list[str]] = {}
    found: Counter[tuple[str, ...]] = Counter()
    block: list[str] = []
    for line in lines:
        if line.startswith("Traceback") or block:
            block.append(line)
        if block and not line.startswith((" ", "Traceback")):
            at = tuple(block[:-1])
            found[at] += 1
            blocks.setdefault(at, block)
            block = []
    return Counter({"\n".join(blocks[at]): count for at, count in found.items()})


def _files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir())


def _some(what: str, evidence: Iterable[str]) -> list[str]:
    """A few of many, and how many there are."""
    all_of_them = list(evidence)
    shown = [f"{what}: {one}" for one in all_of_them[:SHOWN_MAX]]
    more = len(all_of_them) - len(shown)
    return [*shown, f"{what}: {more} more"] if more > 0 else shown
