"""An engine with more than one runner."""

from __future__ import annotations

import random
import time

import numpy as np
import pytest

from tests.inference.engines import SPEC, Gate, Make, expected, soon
from tests.inference.tiny import Scripted, clips
from worker.errors import SessionBroken
from worker.inference.types import Inputs


def test_a_second_runner_takes_the_next_batch_meanwhile(make: Make) -> None:
    gates = [Gate(), Gate()]
    engine = make(gates[0], also=[Scripted(SPEC, gates[1])])
    first = engine.submit(Inputs(clips(1, 2, 3, 4)), soon())
    second = engine.submit(Inputs(clips(5, 6, 7, 8)), soon())
    assert all(gate.entered.wait(5.0) for gate in gates)
    for gate in gates:
        gate.opened.set()
    np.testing.assert_array_equal(first.result(5.0).probabilities, expected(1, 2, 3, 4))
    np.testing.assert_array_equal(second.result(5.0).probabilities, expected(5, 6, 7, 8))


def test_parts_of_a_request_that_several_runners_answer_are_joined_in_order(make: Make) -> None:
    def slowly(inputs: Inputs) -> None:
        time.sleep(random.uniform(0, 0.002))

    engine = make(slowly, also=[Scripted(SPEC, slowly), Scripted(SPEC, slowly)], queue_clips=256)
    for _ in range(10):
        found = engine.predict(Inputs(clips(*range(40))), soon()).probabilities
        np.testing.assert_array_equal(found, expected(*range(40)))


def test_one_runner_that_hangs_breaks_the_engine(make: Make) -> None:
    gate = Gate()
    engine = make(gate, also=[Scripted(SPEC, gate)], run_timeout_s=0.1)
    futures = [engine.submit(Inputs(clips(i)), soon()) for i in range(6)]
    assert gate.entered.wait(5.0)
    for future in futures:
        with pytest.raises(SessionBroken, match=r"did not answer within 0.1 s"):
            future.result(5.0)
    gate.opened.set()
