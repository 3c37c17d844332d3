"""`python -m examples.orders_outbox`: orders over a network that loses answers, and their confirmations, once each."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from examples.dialogues.sidecar_process import SidecarProcess
from examples.orders_outbox.check import compare
from examples.orders_outbox.mailer import Mailbox, Mailer
from examples.orders_outbox.proxy import LossyProxy
from examples.orders_outbox.shop import NAMESPACE, Order, place_for_certain
from statesidecar import Consistency, FailedPrecondition, RetryPolicy, StateClient

CUSTOMERS = ("alice", "bob", "carol", "dave", "erin")
STOCK = {"lamp": 1000, "chair": 1000, "clock": 5}
LOSE_EVERY = 3
DIE_AT = 10
SHOWN = 3
PATIENCE_S = 60.0


def main() -> int:
    """0: every accepted order was confirmed, once. 1: not so."""
    options = _options()
    with (
        tempfile.TemporaryDirectory(prefix="orders-") as directory,
        # Others deliver for a dead daemon after a lease; the one that takes its place here waits for that, too.
        SidecarProcess(Path(directory), **{"outbox.lease_s": "1"}) as daemon,
        LossyProxy(daemon.target.removeprefix("unix://")) as proxy,
        StateClient(daemon.target, timeout_s=20) as direct,
        # One attempt: what the client's own retries would do in silence is to be seen here.
        StateClient(proxy.target, timeout_s=20, retry=RetryPolicy(attempts_max=1)) as shop,
    ):
        for item, count in STOCK.items():
            direct.set(NAMESPACE, f"stock/{item}", str(count))
        mailbox = Mailbox()
        mailer = Mailer(direct, mailbox, dies_at=DIE_AT)
        mailer.start()
        try:
            accepted, refused = _take_orders(options.orders, daemon, direct, shop, proxy)
            arrived = mailbox.wait(len(accepted), PATIENCE_S)
        finally:
            mailer.stop()
        print(f"{len(accepted)} orders accepted, {refused} refused: sold out; {proxy.lost} answers lost on the way")
        print(f"the mailer died {mailer.deaths} times between sending and saying so; the daemon was killed once")
        print(f"{len(mailbox.mails)} confirmations; {mailbox.recognised} came again, and were known by their ids")
        taken = {item: count - _stock(direct, item) for item, count in STOCK.items()}
        verdict = compare(accepted, list(mailbox.mails.values()), taken)
    print("every order that was accepted is confirmed, once" if verdict.clean else f"broken: {verdict}")
    return 0 if arrived and verdict.clean else 1


def _take_orders(
    count: int, daemon: SidecarProcess, direct: StateClient, shop: StateClient, proxy: LossyProxy
) -> tuple[list[Order], int]:
    accepted: list[Order] = []
    refused = shown = 0
    items = tuple(STOCK)
    for number in range(1, count + 1):
        order = Order(number, CUSTOMERS[number % len(CUSTOMERS)], items[number % len(items)])
        if number == count // 2:
            daemon.kill_and_restart()
            direct.status()  # Answers when it is back
        if number % LOSE_EVERY == 0:
            proxy.lose_an_answer()
        try:
            placed = place_for_certain(shop, order)
        except FailedPrecondition:
            refused += 1
            continue
        accepted.append(order)
        if placed.lost_answers and (shown := shown + 1) <= SHOWN:
            stored = direct.get(NAMESPACE, f"order/{number}", consistency=Consistency.STRONG).version
            same = "the same" if stored == placed.version else "ANOTHER"
            print(f"order {number}: answer lost, asked again: version {placed.version}, {same} that is stored")
    return accepted, refused


def _stock(client: StateClient, item: str) -> int:
    return int(client.get(NAMESPACE, f"stock/{item}", consistency=Consistency.STRONG).value or 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.orders_outbox", description=__doc__)
    parser.add_argument("--orders", type=int, metavar="N", default=60, help="how many orders come (default: 60)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
