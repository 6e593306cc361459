"""One set of models takes over from another while uploads are in flight."""

from __future__ import annotations

import threading

import pytest

from tests.inference import tiny
from tests.samples import MODEL
from worker.cascade.policy import load_policies
from worker.clock import Deadline, SystemClock
from worker.errors import SessionBroken
from worker.inference.batcher import BatchPolicy
from worker.inference.engine import Engine
from worker.inference.types import Inputs
from worker.serving import Model, ModelSet, ServedModels

CLOCK = SystemClock()


def model(version: str) -> Model:
    runner = tiny.Scripted(tiny.spec(), lambda inputs: None)
    engine = Engine(runner, BatchPolicy(8, 0.0), CLOCK, queue_clips=64, run_timeout_s=10.0)
    engine.start()
    return Model(engine, MODEL.model_copy(update={"version": version}))


def model_set(*models: Model) -> ModelSet:
    return ModelSet(models, None, load_policies(None, [models[0].spec], None))


def answers(served: Model) -> bool:
    try:
        served.engine.predict(Inputs(tiny.clips(1)), Deadline.after(CLOCK, 5.0))
    except SessionBroken:
        return False
    return True


def test_who_began_with_a_set_keeps_it_until_the_end() -> None:
    old, new = model("1"), model("2")
    served = ServedModels(model_set(old))
    with served.use() as in_flight:
        change = threading.Thread(target=served.replace, args=(model_set(new), 10.0))
        change.start()
        while served.current is in_flight:
            change.join(0.01)
        with served.use() as later:
            assert later.first == (new,)
        assert answers(old)
        assert change.is_alive()
    change.join(10.0)
    assert not answers(old)
    assert answers(new)
    served.close()
    assert not answers(new)


def test_what_both_sets_have_stays_open() -> None:
    old, kept, new = model("1"), model("k"), model("2")
    served = ServedModels(model_set(old, kept))
    served.replace(model_set(new, kept), 1.0)
    assert [answers(each) for each in (old, kept, new)] == [False, True, True]
    served.close()


def test_who_never_ends_is_waited_for_with_patience() -> None:
    old, new = model("1"), model("2")
    served = ServedModels(model_set(old))
    with served.use():
        served.replace(model_set(new), 0.05)
        with pytest.raises(SessionBroken):
            old.engine.predict(Inputs(tiny.clips(1)), Deadline.after(CLOCK, 5.0))
    served.close()
