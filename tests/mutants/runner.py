"""Runs contract tests in process against a harness of one's own: the mutants', many times faster than a pytest each."""

from __future__ import annotations

import inspect
import itertools
import pkgutil
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import tests.contract

SUBJECTS = (
    *("store", "durable_store", "feed_store", "quiet_store", "spoilable_store"),
    *("counting_store", "counting_quiet_store"),
    *("cache", "bounded_cache", "blobs"),
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A contract test with one set of its parameters. It takes a subject, and no other fixture."""

    test: str
    subject: str
    function: Callable[..., Awaitable[None]]
    parameters: dict[str, Any]

    async def failure(self, harness: Any, directory: Path) -> BaseException | None:
        """What the test says against the harness."""
        try:
            async with harness.opened(directory) as subject:
                await self.function(**{self.subject: subject}, **self.parameters)
        except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  # whatever fails the test is its verdict
            return error
        return None


def cases(*subjects: str) -> list[Case]:
    """Every case of the contract suite that takes one of the subjects."""
    names = [module.name for module in pkgutil.iter_modules(tests.contract.__path__)]
    modules = [import_module(f"tests.contract.{name}") for name in names if name.startswith("test_")]
    return [case for module in modules for case in _cases_of(module) if case.subject in subjects]


def _cases_of(module: Any) -> Iterator[Case]:
    for name, function in vars(module).items():
        if not name.startswith("test_"):
            continue
        sets = list(_parameter_sets(function))
        arguments = set(inspect.signature(function).parameters)
        (subject,) = arguments - set(sets[0])
        assert subject in SUBJECTS, f"{name} takes a fixture that mutants have not: {subject}"
        for parameters in sets:
            yield Case(test=name, subject=subject, function=function, parameters=parameters)


def _parameter_sets(function: Any) -> Iterator[dict[str, Any]]:
    marks = [mark for mark in getattr(function, "pytestmark", []) if mark.name == "parametrize"]
    axes = []
    for mark in marks:
        names, values = mark.args
        if isinstance(names, str):
            axes.append([{names: value} for value in values])
        else:
            axes.append([dict(zip(names, row, strict=True)) for row in values])
    for choice in itertools.product(*axes):
        yield {name: value for part in choice for name, value in part.items()}
