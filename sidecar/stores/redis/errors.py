"""What goes wrong between us and Redis, in words for an operator. No message holds a password, a key or a value.

RedisUnavailable            nothing was executed: no connection, or a server that takes no commands now
└── RedisOutcomeUnknown     the command was sent and its reply never came: it may have been executed
RedisRefused                the server's error reply; `code` is its first word
"""

from __future__ import annotations

import re
import socket
import ssl

from sidecar.stores.redis.target import Endpoint, Tls

# 6.2 wraps what a script's command answered: "ERR Error running script (call to f_..): @user_script:3: -OOM command ...".
_WITHIN_SCRIPT = re.compile(r"^ERR Error running script .*?-([A-Z]+) ", re.DOTALL)
_COMMAND = re.compile(r"'([a-z|-]+)' command")
NOT_NOW = frozenset({"LOADING", "CLUSTERDOWN", "BUSY", "TRYAGAIN", "NOREPLICAS", "MISCONF"})
"""Codes of a server that refuses work in its present state: the same command may succeed later."""
NOT_HERE = frozenset({"READONLY", "MASTERDOWN", "NOAUTH"})
"""Codes of a connection to look away from: its server is no primary any more, or does not know us."""
HANGS_UP = "PROTOCOL"
"""Our code for what a server says before it closes the connection: an argument above its proto-max-bulk-len."""
_MEANINGS = {
    "OOM": "is full (maxmemory)",
    "LOADING": "is loading its data",
    "MASTERDOWN": "is a replica without its primary",
    "READONLY": "is a replica",
    "CLUSTERDOWN": "is of a Cluster that lacks nodes",
    "BUSY": "is busy with a script",
    "MISCONF": "can't persist, and refuses writes",
    "NOREPLICAS": "lacks replicas, and refuses writes",
    "NOPERM": "does not permit our user a key, channel or command",
    "NOAUTH": "wants a password: write it into the URL",
    "WRONGPASS": "refuses the user or the password",
}


class RedisUnavailable(Exception):
    """Redis does not answer, and nothing was executed."""


class RedisOutcomeUnknown(RedisUnavailable):
    """The command was sent; whether it was executed is not known."""


class RedisRefused(Exception):
    """An error reply. Of a single command nothing was executed; of a script, what precedes the refused command was."""

    def __init__(self, reply: str) -> None:
        code = reply.partition(" ")[0]
        if found := _WITHIN_SCRIPT.match(reply):
            code = found[1]
        elif reply.startswith("ERR Protocol error"):
            code = HANGS_UP
        self.code = code
        self.reply = reply
        meaning = self.meaning()
        super().__init__(f"Redis {meaning} ({code})" if meaning else _first_line(reply))

    def meaning(self) -> str:
        """What it says of the server, if the code is one that we know."""
        meaning = _MEANINGS.get(self.code, "")
        if self.code == "NOPERM" and (found := _COMMAND.search(self.reply)):
            return f"{meaning} {found[1]}"
        return meaning


def _first_line(reply: str) -> str:
    # What follows are the command's arguments, keys and values among them.
    said, _, _ = reply.partition(", with args")
    return f"Redis answers: {said.splitlines()[0][:200]}" if said else "Redis answers an empty error"


def connecting_failed(exc: Exception, endpoint: Endpoint, tls: Tls | None) -> RedisUnavailable:
    """What an operator should know of a connection that could not be opened. Nothing was executed over it."""
    if isinstance(exc, RedisOutcomeUnknown):
        exc = exc.__cause__ if isinstance(exc.__cause__, Exception) else ConnectionResetError()
    match exc:
        case RedisRefused():
            why = f"{endpoint} {_greeting_refused(exc)}"
        case ssl.SSLError():
            why = _tls_failed(exc, endpoint)
        case ConnectionResetError() | BrokenPipeError():
            why = f"{endpoint} closes the connection at once{_hint(tls)}"
        case TimeoutError():
            why = f"{endpoint} does not answer" + ("" if tls is None else "; does it speak TLS on this port?")
        case OSError():
            why = _unreachable(exc, endpoint)
        case _:
            why = f"{endpoint} can't be reached: {type(exc).__name__}"
    return RedisUnavailable(why)


def _hint(tls: Tls | None) -> str:
    if tls is None:
        return "; does it want TLS (rediss)?"
    return "" if tls.cert_file else "; does it want a client's certificate (cert_file and key_file)?"


def _unreachable(exc: OSError, endpoint: Endpoint) -> str:
    if isinstance(exc, socket.gaierror):
        return f"no such host: {endpoint.host}"
    # Of a name with several addresses all errors are told in one OSError's text.
    if isinstance(exc, ConnectionRefusedError) or "Connect call failed" in str(exc):
        return f"nothing listens at {endpoint}"
    return f"{endpoint} can't be reached: {exc.strerror or type(exc).__name__}"


def _greeting_refused(exc: RedisRefused) -> str:
    if meaning := exc.meaning():
        return meaning
    if "DB index" in exc.reply:
        return "has no such database"
    if "unknown command" in exc.reply:
        return "does not know HELLO: Redis 6.2, Valkey 7.2 or later is needed"
    return f"refuses us: {_first_line(exc.reply)}"


def _tls_failed(exc: ssl.SSLError, endpoint: Endpoint) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        said = exc.verify_message.rstrip(".")
        return f"the certificate of {endpoint} does not verify: {said}; ca_file names its authority's certificate"
    return f"no TLS with {endpoint}: {_tls_reason(exc)}"


def _tls_reason(exc: ssl.SSLError) -> str:
    reason = (exc.reason or "").replace("_", " ").lower()
    if "wrong version" in reason or "record layer" in reason:
        return "it does not speak TLS on this port; write redis:// if that is meant"
    if "certificate required" in reason or "handshake failure" in reason:
        return f"it wants a client's certificate ({reason}); cert_file and key_file name ours"
    return reason or "the handshake failed"
