from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.inference.engines import CLOCK, SPEC, Heard, Make
from tests.inference.tiny import Scripted
from worker.inference.batcher import BatchPolicy
from worker.inference.engine import Engine
from worker.inference.types import Inputs, Runner


@pytest.fixture
def make() -> Iterator[Make]:
    engines: list[Engine] = []

    def engine(
        before: Callable[[Inputs], None] = lambda inputs: None,
        *,
        runner: Runner | None = None,
        also: Sequence[Runner] = (),
        max_clips: int = 4,
        max_delay_s: float = 0.0,
        queue_clips: int = 64,
        run_timeout_s: float = 20.0,
        events: Heard | None = None,
    ) -> Engine:
        made = Engine(
            runner if runner is not None else Scripted(SPEC, before),
            BatchPolicy(max_clips, max_delay_s),
            CLOCK,
            queue_clips=queue_clips,
            run_timeout_s=run_timeout_s,
            events=events,
            also=also,
        )
        made.start()
        engines.append(made)
        return made

    yield engine
    for made in engines:
        made.close(5.0)
