"""The consumer: sends a confirmation for each order, straight from the daemon, without a broker."""

from __future__ import annotations

import threading
from typing import Any

from examples.orders_outbox.shop import NAMESPACE, PLACED
from statesidecar import Consumer, StateClient


class Mailbox:
    """Where confirmations arrive. It knows each by its message's id, as a mail service with idempotency keys does."""

    def __init__(self) -> None:
        self.mails: dict[str, Any] = {}
        self.recognised = 0
        self._arrived = threading.Condition()

    def send(self, message_id: str, order: Any) -> None:
        """Sends a confirmation, unless that was done."""
        with self._arrived:
            self.recognised += message_id in self.mails
            self.mails.setdefault(message_id, order)
            self._arrived.notify_all()

    def wait(self, count: int, timeout_s: float) -> bool:
        """Until so many confirmations have arrived."""
        with self._arrived:
            return self._arrived.wait_for(lambda: len(self.mails) >= count, timeout_s)


class MailerDiedError(Exception):
    """The mailer ended after it had sent a confirmation, and before it said so."""


class Mailer:
    """Sends confirmations in a thread. `dies_at`: it dies, and is started again, at each of so many messages."""

    def __init__(self, client: StateClient, mailbox: Mailbox, *, dies_at: int = 0) -> None:
        self.deaths = 0
        self._client = client
        self._mailbox = mailbox
        self._dies_at = dies_at
        self._handled = 0
        self._consumer: Consumer | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def stop(self) -> None:
        """Ends, with everything acknowledged that was sent."""
        self._stopping.set()
        if self._consumer is not None:
            self._consumer.close()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                self._confirm()
            except MailerDiedError:
                self.deaths += 1

    def _confirm(self) -> None:
        with self._client.outbox.consume(NAMESPACE, [PLACED]) as messages:
            self._consumer = messages
            if self._stopping.is_set():
                return
            for message in messages:
                self._mailbox.send(message.id, message.json())
                self._handled += 1
                if self._dies_at and self._handled % self._dies_at == 0:
                    raise MailerDiedError
                message.ack()
