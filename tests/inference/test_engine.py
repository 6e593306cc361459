from __future__ import annotations

import random
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tests.inference.engines import SPEC, Gate, Heard, Make, expected, soon
from tests.inference.tiny import EMBEDDING, Scripted, clips, embeddings_of, spec, write
from worker.errors import DeadlineExceeded, ModelRunFailed, SessionBroken
from worker.inference.registry import find_artifact
from worker.inference.session import installed_providers, open_session
from worker.inference.types import Answer, Inputs

BAD = 13  # the grey that a scripted network fails on


def nothing(inputs: Inputs) -> None:
    pass


def fails_on_bad(inputs: Inputs) -> None:
    if (inputs.clips == BAD).any():
        raise RuntimeError("bad input")


def fails_always(inputs: Inputs) -> None:
    raise RuntimeError("out of memory")


@pytest.mark.parametrize("provider", [name for name in installed_providers() if name in ("openvino", "cpu")])
def test_many_threads_each_get_their_own_answer(tmp_path: Path, make: Make, provider: str) -> None:
    write(tmp_path)
    session = open_session(find_artifact("tiny-filter", tmp_path), provider=provider, threads=1)
    engine = make(runner=session, max_clips=8, max_delay_s=0.001)

    def upload(seed: int) -> None:
        brightness = [random.Random(seed + i).randrange(256) for i in range(1 + seed % 11)]
        found = engine.predict(Inputs(clips(*brightness)), soon()).probabilities
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected(*brightness), atol=1e-5)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(upload, range(200)))


def test_a_request_larger_than_a_batch_is_joined_in_order(make: Make) -> None:
    heard = Heard()
    found = make(events=heard).predict(Inputs(clips(*range(10))), soon()).probabilities
    np.testing.assert_array_equal(found, expected(*range(10)))
    assert sum(count for count, _ in heard.batches) == 10
    assert max(count for count, _ in heard.batches) == 4


def test_batches_form_while_the_model_runs(make: Make) -> None:
    gate, heard = Gate(), Heard()
    engine = make(gate, events=heard)
    first = engine.submit(Inputs(clips(1)), soon())
    assert gate.entered.wait(5.0)
    others = [engine.submit(Inputs(clips(i)), soon()) for i in range(2, 7)]
    gate.opened.set()
    for i, future in enumerate([first, *others], start=1):
        np.testing.assert_array_equal(future.result(5.0).probabilities, expected(i))
    engine.close(5.0)
    assert [count for count, _ in heard.batches] == [1, 4, 1]
    assert heard.batches[1][1] == "full"
    assert heard.depths[-1] == 0


def test_the_offender_alone_fails(make: Make) -> None:
    gate = Gate()

    def before(inputs: Inputs) -> None:
        gate(inputs)
        fails_on_bad(inputs)

    engine = make(before)
    blocker = engine.submit(Inputs(clips(0)), soon())
    assert gate.entered.wait(5.0)
    futures = [engine.submit(Inputs(clips(grey)), soon()) for grey in (1, BAD, 3)]
    gate.opened.set()
    np.testing.assert_array_equal(blocker.result(5.0).probabilities, expected(0))
    np.testing.assert_array_equal(futures[0].result(5.0).probabilities, expected(1))
    np.testing.assert_array_equal(futures[2].result(5.0).probabilities, expected(3))
    with pytest.raises(ModelRunFailed, match="tiny-filter failed on this input: bad input"):
        futures[1].result(5.0)
    assert engine.broken is None


def test_an_offender_in_a_batch_of_its_own_does_not_break_the_engine(make: Make) -> None:
    engine = make(fails_on_bad)
    with pytest.raises(ModelRunFailed):
        engine.predict(Inputs(clips(BAD)), soon())
    with pytest.raises(ModelRunFailed):  # cut into several batches, of which one fails
        engine.predict(Inputs(clips(1, 2, 3, 4, 5, BAD, 7, 8, 9)), soon())
    np.testing.assert_array_equal(engine.predict(Inputs(clips(5)), soon()).probabilities, expected(5))
    assert engine.broken is None


def test_a_model_that_fails_for_every_input_breaks_the_engine(make: Make) -> None:
    engine = make(fails_always)
    with pytest.raises(SessionBroken, match=r"fails for every input: .*out of memory"):
        engine.predict(Inputs(clips(1)), soon())
    assert engine.broken is not None
    with pytest.raises(SessionBroken):
        engine.submit(Inputs(clips(1)), soon())


def test_a_run_that_hangs_breaks_the_engine_and_frees_its_callers(make: Make) -> None:
    gate = Gate()
    engine = make(gate, run_timeout_s=0.1)
    running = engine.submit(Inputs(clips(1)), soon())
    assert gate.entered.wait(5.0)
    queued = engine.submit(Inputs(clips(2)), soon())
    for future in (running, queued):
        with pytest.raises(SessionBroken, match=r"did not answer within 0.1 s"):
            future.result(5.0)
    assert engine.broken is not None
    gate.opened.set()  # the late answer is nobody's any more


def test_what_is_past_its_deadline_is_dropped_when_its_turn_comes(make: Make) -> None:
    gate, heard = Gate(), Heard()
    engine = make(gate, events=heard)
    running = engine.submit(Inputs(clips(1)), soon())
    assert gate.entered.wait(5.0)
    late = engine.submit(Inputs(clips(2)), soon(0.02))
    time.sleep(0.05)
    gate.opened.set()
    with pytest.raises(DeadlineExceeded, match="waited too long for tiny-filter"):
        late.result(5.0)
    running.result(5.0)
    assert sum(count for count, _ in heard.batches) <= 1


def test_a_caller_that_gave_up_costs_no_run(make: Make) -> None:
    gate, heard = Gate(), Heard()
    engine = make(gate, events=heard)
    running = engine.submit(Inputs(clips(1)), soon())
    assert gate.entered.wait(5.0)
    gone = engine.submit(Inputs(clips(2)), soon())
    assert gone.cancel()
    last = engine.submit(Inputs(clips(3)), soon())
    gate.opened.set()
    running.result(5.0)
    np.testing.assert_array_equal(last.result(5.0).probabilities, expected(3))
    engine.close(5.0)
    assert heard.batches[0][0] == 1


def test_predict_gives_up_at_the_deadline(make: Make) -> None:
    gate = Gate()
    engine = make(gate)
    with pytest.raises(DeadlineExceeded, match="while tiny-filter worked"):
        engine.predict(Inputs(clips(1)), soon(0.05))
    gate.opened.set()


def test_submit_blocks_while_the_queue_is_full(make: Make) -> None:
    gate, heard = Gate(), Heard()
    engine = make(gate, queue_clips=4, events=heard)
    running = engine.submit(Inputs(clips(0)), soon())
    assert gate.entered.wait(5.0)
    filling = engine.submit(Inputs(clips(1, 2, 3)), soon())
    with pytest.raises(DeadlineExceeded, match="before the queue of tiny-filter had room"):
        engine.submit(Inputs(clips(4, 5)), soon(0.05))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(engine.predict, Inputs(clips(4, 5)), soon())
        time.sleep(0.05)
        assert heard.depths[-1] == 3
        gate.opened.set()
        np.testing.assert_array_equal(waiting.result(5.0).probabilities, expected(4, 5))
    running.result(5.0)
    filling.result(5.0)


def test_a_request_larger_than_the_queue_has_its_turn(make: Make) -> None:
    engine = make(queue_clips=4)
    np.testing.assert_array_equal(
        engine.predict(Inputs(clips(*range(20))), soon()).probabilities, expected(*range(20))
    )


def test_embeddings_come_back_in_the_order_of_the_clips(make: Make) -> None:
    engine = make(runner=Scripted(spec(embedding=EMBEDDING), nothing), max_clips=4)
    answer = engine.predict(Inputs(clips(*range(10))), soon())
    np.testing.assert_array_equal(answer.embeddings, embeddings_of(*range(10)))
    assert make().predict(Inputs(clips(1)), soon()).embeddings is None


def test_large_requests_are_not_overtaken_for_ever(make: Make) -> None:
    engine = make(lambda inputs: time.sleep(0.002), queue_clips=4)
    stop = threading.Event()

    def small() -> None:
        while not stop.is_set():
            engine.predict(Inputs(clips(1)), soon())

    with ThreadPoolExecutor(6) as pool:
        others = [pool.submit(small) for _ in range(6)]
        try:
            engine.predict(Inputs(clips(*range(16))), soon(5.0))
        finally:
            stop.set()
        for other in others:
            other.result(5.0)


def test_closing_answers_what_is_queued_and_refuses_what_is_new(make: Make) -> None:
    heard = Heard()
    engine = make(lambda inputs: time.sleep(0.01), max_delay_s=60.0, events=heard)
    futures = [engine.submit(Inputs(clips(i)), soon()) for i in range(6)]
    engine.close(5.0)
    for i, future in enumerate(futures):
        np.testing.assert_array_equal(future.result(0).probabilities, expected(i))
    assert heard.batches == [(4, "full"), (2, "draining")]
    with pytest.raises(SessionBroken, match="closed"):
        engine.submit(Inputs(clips(1)), soon())


def test_closing_does_not_wait_for_a_run_that_hangs(make: Make) -> None:
    gate = Gate()
    engine = make(gate)
    futures = [engine.submit(Inputs(clips(i)), soon()) for i in range(8)]
    assert gate.entered.wait(5.0)
    engine.close(0.05)
    for future in futures:
        with pytest.raises(SessionBroken, match="closed before"):
            future.result(0)
    gate.opened.set()


@pytest.mark.parametrize(
    "wrong",
    [clips(), clips(1).astype(np.float32), clips(1)[:, :, :8]],
    ids=["no clip", "floats", "another size"],
)
def test_inputs_that_do_not_fit_are_refused_at_the_door(make: Make, wrong: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"tiny-filter takes uint8 \(N, 2, 16, 16, 3\)"):
        make().submit(Inputs(wrong), soon())


@pytest.mark.parametrize("runners", [1, 3])
def test_every_future_is_completed_whatever_happens(make: Make, runners: int) -> None:
    """Random failures, cancellations, deadlines and a close in the middle."""
    chance = random.Random(7)

    def sometimes(inputs: Inputs) -> None:
        time.sleep(chance.uniform(0, 0.002))
        fails_on_bad(inputs)

    also = [Scripted(SPEC, sometimes) for _ in range(runners - 1)]
    engine = make(sometimes, also=also, max_delay_s=0.001, queue_clips=16)
    futures: list[Future[Answer]] = []

    def upload(seed: int) -> None:
        own = random.Random(seed)
        greys = [own.choice([1, 2, 3, BAD]) for _ in range(own.randrange(1, 9))]
        try:
            future = engine.submit(Inputs(clips(*greys)), soon(own.choice([0.001, 5.0])))
        except (DeadlineExceeded, SessionBroken):
            return
        futures.append(future)
        if own.random() < 0.2:
            future.cancel()

    with ThreadPoolExecutor(8) as pool:
        done = [pool.submit(upload, seed) for seed in range(300)]
        time.sleep(0.1)
        engine.close(5.0)
        for future in done:
            future.result(5.0)
    assert futures
    assert all(future.done() for future in futures)


def test_it_says_how_long_clips_would_take_behind_those_that_are_due_before(make: Make) -> None:
    gate = Gate()
    gate.opened.set()

    def slowly(inputs: Inputs) -> None:
        gate(inputs)
        time.sleep(0.05 * len(inputs))

    engine = make(slowly, max_clips=2)
    engine.predict(Inputs(clips(1, 2)), soon())
    assert engine.expected_s(4, soon()) == 0.0  # idle: whatever is asked may be tried
    gate.entered.clear()
    gate.opened.clear()
    waiting = engine.submit(Inputs(clips(1, 2, 3)), soon(), patience_s=5.0)
    assert gate.entered.wait(20.0)
    behind_s, before_s = (engine.expected_s(4, soon(), patience_s) for patience_s in (6.0, 0.0))
    assert behind_s >= 7 * 0.05  # two clips run, one waits, and four of our own
    assert before_s == pytest.approx(behind_s * 6 / 7)  # overtakes the one that waits
    gate.opened.set()
    waiting.result(20.0)
