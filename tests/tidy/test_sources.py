"""What holds for every module: its size, its docstring, and what it must not call or import."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.tidy.files import SOURCES, modules, text, tree

SOURCE_LINES_MAX = 340
TEST_LINES_MAX = 450

PORTS = "sidecar/runtime/ports.py"
"""Where what is banned elsewhere comes from."""

# By folder, what must not be named there, and what to use instead.
BANNED = {
    ("sidecar/core/", "sidecar/engine/", "sidecar/tiers/"): {
        "time.*": "the Clock of core/ports.py",
        "datetime.now": "the Clock of core/ports.py",
        "datetime.utcnow": "the Clock of core/ports.py",
        "random.*": "the tokens of core/ports.py",
        "secrets.*": "the tokens of core/ports.py",
        "uuid.*": "the tokens of core/ports.py",
        "os.urandom": "the tokens of core/ports.py",
        "asyncio.*": "ports; what is to happen later is returned as a followup",
        "threading.*": "ports; only stores and runtime have threads",
        "logging.*": "an error with a reason; runtime logs",
        "print": "an error with a reason; runtime logs",
        "open": "a Store or Blobs",
    },
    ("sidecar/stores/", "sidecar/sinks/", "sidecar/telemetry/"): {
        "time.time": "the Clock that the store is given",
        "datetime.now": "the Clock that the store is given",
        "asyncio.sleep!0": "a signal",
        "print": "logging",
    },
    ("sidecar/rpc/", "sidecar/runtime/"): {
        "time.sleep": "a signal",
        "asyncio.sleep!0": "a signal",
        "asyncio.create_task": "FollowupQueue, Rounds or Commits, which own their tasks",
        "asyncio.ensure_future": "FollowupQueue, Rounds or Commits, which own their tasks",
    },
}

# In tests, which wait for a signal or move a clock. `asyncio.sleep(0)` only lets others run.
SLEEP = re.compile(r"\b(?:time|asyncio)\.sleep\((?!0\))")

# A backend's library, and where its adapter is or will be.
ADAPTERS = {
    "redis": (),  # for tests and benchmarks: the adapter has a client of its own
    "hiredis": ("sidecar/stores/redis/",),
    "xxhash": ("sidecar/stores/redis/",),
    "psycopg": ("sidecar/stores/postgres/",),
    "boto3": (),
    "botocore": ("sidecar/stores/dynamodb/", "sidecar/stores/s3/", "sidecar/sinks/aws/", "sidecar/stores/sealed/"),
    "aiohttp": ("sidecar/sinks/webhook/",),
    "nats": ("sidecar/sinks/nats/",),
    "confluent_kafka": ("sidecar/sinks/kafka/",),
    "opentelemetry": ("sidecar/telemetry/",),
    "cryptography": ("sidecar/stores/sealed/", "sidecar/rpc/access/", "sidecar/runtime/tls.py"),
    "jwt": ("sidecar/rpc/access/",),
    "pyarrow": ("sidecar/cli/export/",),
}


def test_modules_are_small_enough_to_read() -> None:
    long = {
        f"{name}: {lines} lines"
        for name in modules(*SOURCES, "tests/")
        if (lines := text(name).count("\n")) > (TEST_LINES_MAX if name.startswith("tests/") else SOURCE_LINES_MAX)
    }

    assert not long, "split them where a name appears"


def test_every_module_says_what_it_is_for() -> None:
    silent = [name for name in modules(*SOURCES) if text(name).strip() and not ast.get_docstring(tree(name))]

    assert not silent


def test_public_classes_and_functions_of_daemon_and_client_are_documented() -> None:
    """Methods that fulfil a documented port or base class say nothing new, so only the top level is asked."""
    silent = [
        f"{name}:{node.lineno} {node.name}"
        for name in modules("sidecar/", "clients/")
        for node in tree(name).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        and not _is_click_group(node)
    ]

    assert not silent


def test_nothing_banned_is_named_in_its_layer() -> None:
    found = [
        f"{name}:{line} {what}: use {instead}"
        for folders, banned in BANNED.items()
        for name in modules(*folders)
        if name != PORTS
        for line, what, instead in violations(tree(name), banned)
    ]

    assert not found


def test_the_ban_sees_through_imports() -> None:
    banned = {"time.*": "", "asyncio.create_task": "", "open": "", "asyncio.sleep!0": ""}
    code = """
import time
from time import monotonic
from asyncio import create_task
import asyncio
asyncio.create_task(work())
self.loop.create_task(work())
open("file")
asyncio.sleep (1)
asyncio.sleep (0)
store.open()
runtime.time()
"""

    assert [line for line, _, _ in violations(ast.parse(code), banned)] == [2, 3, 4, 6, 8, 9]


BACKS_OFF = {
    "tests/e2e/increments.py": "a client that lost a race pauses before it tries again, as any client does",
    "tests/security/delaying.py": "a proxy whose replies are late",
    "tests/security/greedy.py": "a caller at a rate",
    "tests/security/test_quota_share.py": "a caller that thinks between its calls",
}


def test_tests_do_not_sleep() -> None:
    assert {name for name in modules("tests/") if SLEEP.search(text(name))} == set(BACKS_OFF)


@pytest.mark.parametrize("module", ["time", "asyncio"])
def test_a_sleep_is_found(module: str) -> None:
    assert SLEEP.search(f"await {module}.sleep(delay)")
    assert SLEEP.search(f"{module}.sleep(0.1)")
    assert not SLEEP.search(f"{module}.sleep(0)")


def test_backends_are_imported_by_their_adapters_only() -> None:
    found = [
        f"{name}:{line} {module}"
        for name in modules("sidecar/", "clients/", "examples/")
        for line, module in imports(tree(name))
        for library, folders in ADAPTERS.items()
        if module.split(".")[0] == library and not name.startswith(folders)
    ]

    assert not found


def violations(module: ast.Module, banned: dict[str, str]) -> Iterator[tuple[int, str, str]]:
    """Where a module imports or names what is banned: `time.*` a whole module, `open` a builtin that is called.

    With `!0` at its end, a call with an argument other than 0: `asyncio.sleep(0)` only lets others run.
    """
    calls = {id(node.func): node for node in ast.walk(module) if isinstance(node, ast.Call)}
    for node in ast.walk(module):
        for what in _named(node):
            call = calls.get(id(node))
            for pattern, instead in banned.items():
                if pattern.endswith("!0"):
                    hit = what == pattern[:-2] and call is not None and not _is_zero(call.args)
                elif "." in pattern:
                    whole = pattern.removesuffix(".*")
                    hit = what == whole or (pattern.endswith(".*") and what.startswith(f"{whole}."))
                else:
                    hit = what == pattern and call is not None
                if hit and isinstance(node, ast.expr | ast.stmt):
                    yield node.lineno, what, instead
                    break


def imports(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Every module that is imported, wherever."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module


def _named(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=str(module), names=names):
            yield from (f"{module}.{alias.name}" for alias in names)
        case ast.Attribute(value=ast.Name(id=owner), attr=attribute):
            yield f"{owner}.{attribute}"
        case ast.Name(id=name, ctx=ast.Load()):
            yield name


def _is_zero(arguments: list[ast.expr]) -> bool:
    return len(arguments) == 1 and isinstance(arguments[0], ast.Constant) and arguments[0].value == 0


def _is_click_group(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "main"
