"""The orders example: as a reader runs it, what its parts promise, and that its comparison can fail."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from examples.orders_outbox.check import Verdict, compare
from examples.orders_outbox.mailer import Mailbox, Mailer
from examples.orders_outbox.proxy import LossyProxy
from examples.orders_outbox.shop import NAMESPACE, Order, place, place_for_certain
from statesidecar import FailedPrecondition, RetryPolicy, StateClient, WriteOutcomeUnknown
from statesidecar.testing import RunningSidecar, sidecar

ROOT = Path(__file__).parents[2]
EXAMPLE_S = 120.0
ORDERS = [Order(1, "alice", "lamp"), Order(2, "bob", "chair"), Order(3, "alice", "lamp")]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningSidecar]:
    with sidecar(listen=[f"unix://{tmp_path}/socket"]) as started:
        for item in ("lamp", "chair"):
            started.client().set(NAMESPACE, f"stock/{item}", "2")
        yield started


@pytest.mark.timeout(150)
def test_the_programme_as_a_reader_runs_it() -> None:
    command = [sys.executable, "-m", "examples.orders_outbox", "--orders", "30"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=EXAMPLE_S, check=False)

    assert ran.returncode == 0, ran.stdout + ran.stderr
    *shown, orders, deaths, confirmations, last = ran.stdout.splitlines()
    assert len(shown) == 3
    assert all("the same that is stored" in line for line in shown)
    assert [int(count) for count in re.findall(r"\d+", orders)] == [25, 5, 10]
    assert "died 2 times" in deaths
    confirmed, again = (int(count) for count in re.findall(r"\d+", confirmations))
    assert confirmed == 25
    assert again >= 2
    assert last == "every order that was accepted is confirmed, once"


def test_an_order_whose_answer_was_lost_is_answered_the_same_when_it_is_asked_for_again(
    running: RunningSidecar, tmp_path: Path
) -> None:
    mailbox = Mailbox()
    direct = running.client()
    with (
        LossyProxy(f"{tmp_path}/socket") as proxy,
        StateClient(proxy.target, timeout_s=20, retry=RetryPolicy(attempts_max=1)) as shop,
    ):
        place(shop, ORDERS[0])
        proxy.lose_an_answer()
        with pytest.raises(WriteOutcomeUnknown):
            place(shop, ORDERS[1])
        stored = direct.get(NAMESPACE, "order/2").version
        again = place_for_certain(shop, ORDERS[1])
        proxy.lose_an_answer()
        place_for_certain(shop, ORDERS[2])
        with pytest.raises(FailedPrecondition):
            place_for_certain(shop, Order(4, "erin", "lamp"))
    mailer = Mailer(direct, mailbox)
    mailer.start()
    assert mailbox.wait(3, EXAMPLE_S)
    mailer.stop()

    assert (again.version, proxy.lost) == (stored, 2)
    assert sorted(mail["number"] for mail in mailbox.mails.values()) == [1, 2, 3]
    assert mailbox.recognised == 0


def test_a_mailer_that_dies_after_each_mail_sends_each_all_the_same_once(running: RunningSidecar) -> None:
    mailbox = Mailbox()
    client = running.client()
    mailer = Mailer(client, mailbox, dies_at=2)
    mailer.start()
    for order in ORDERS:
        place(client, order)
    assert mailbox.wait(3, EXAMPLE_S)
    mailer.stop()

    assert mailer.deaths >= 1
    assert len(mailbox.mails) == 3


def test_what_is_wrong_is_told() -> None:
    mails = [asdict(order) for order in ORDERS]
    taken = {"lamp": 2, "chair": 1, "clock": 0}

    assert compare(ORDERS, mails, taken).clean
    assert compare(ORDERS, mails[1:], taken) == _verdict(missing=1)
    assert compare(ORDERS, [*mails, mails[0]], taken) == _verdict(doubled=1)
    assert compare(ORDERS[1:], mails, taken | {"lamp": 1}) == _verdict(ghosts=1)
    assert compare(ORDERS, mails, taken | {"lamp": 4, "clock": -1}) == _verdict(stock_off=3)


def _verdict(**counts: int) -> Verdict:
    return replace(Verdict(missing=0, doubled=0, ghosts=0, stock_off=0), **counts)
