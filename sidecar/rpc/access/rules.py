"""An identity and its rule: the methods and the namespaces that it may, and its quota. What no rule says is denied."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field

from sidecar.core.errors import PermissionDenied
from sidecar.rpc.quotas import Quota

IDENTITY: ContextVar[str] = ContextVar("identity", default="")
"""The name of who asked, for the length of a call. Empty: nobody is known, or asked for."""
EVERYTHING = "*"


@dataclass(frozen=True, slots=True)
class Spaces:
    """The namespaces of a rule: names, and beginnings of names (the empty one is of all)."""

    names: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()

    def __contains__(self, namespace: str) -> bool:
        return namespace in self.names or namespace.startswith(self.prefixes)


def spaces(patterns: Iterable[str]) -> Spaces:
    """Of names, some with a `*` at their end, which stands for any rest. No name has another form that is the same."""
    given = tuple(patterns)
    prefixes = tuple(pattern[:-1] for pattern in given if pattern.endswith(EVERYTHING))
    return Spaces(frozenset(pattern for pattern in given if not pattern.endswith(EVERYTHING)), prefixes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who calls. One that is verified and has no rule has a name, and may nothing. `quota` None: no bound."""

    name: str
    methods: frozenset[str] = frozenset()
    spaces: Spaces = field(default_factory=Spaces)
    quota: Quota | None = None

    def check_method(self, method: str) -> None:
        """METHOD_DENIED unless its rule has the method, by its full name."""
        if method not in self.methods:
            raise PermissionDenied(
                "this identity may not call this method: an operator allows it in auth.identities",
                reason="METHOD_DENIED",
                metadata={"identity": self.name},
            )

    def check_namespace(self, namespace: str) -> None:
        """NAMESPACE_DENIED unless its rule has the namespace; the empty one is of rules for all."""
        if namespace not in self.spaces:
            raise PermissionDenied(
                "this identity may not reach this namespace: an operator allows it in auth.identities",
                reason="NAMESPACE_DENIED",
                metadata={"identity": self.name},
            )
