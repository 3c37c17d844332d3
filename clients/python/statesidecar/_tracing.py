"""The caller's trace, for calls that share a stream: headers of HTTP/2, where tracers put it, are the stream's own.

OpenTelemetry is no dependency: a process that traces has it loaded, and in any other there is nothing to tell.
"""

from __future__ import annotations

import sys
from typing import Any, Final

_API: Final = "opentelemetry.trace"


def traceparent() -> str:
    """The span of now, as the W3C header `traceparent` has it. Empty: none, or one that nobody records."""
    api: Any = sys.modules.get(_API)
    if api is None:
        return ""
    # Another thread may be in the middle of importing it.
    current = getattr(api, "get_current_span", None)
    if current is None:
        return ""
    span = current()
    if not span.is_recording():
        return ""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
