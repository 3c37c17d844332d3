"""What a write's messages weigh while it waits; its operations' values are each store's own account."""

from __future__ import annotations

from sidecar.core.operations import Write

MESSAGE_BYTES = 512
"""What a message weighs besides its payload and attributes."""


def messages_weight(write: Write) -> int:
    """Bytes."""
    return sum(
        MESSAGE_BYTES + len(message.payload) + sum(map(len, (*message.attributes, *message.attributes.values())))
        for message in write.outbox
    )
