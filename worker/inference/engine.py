"""Serves one model to many threads: one queue, one owner thread for each runner, batches formed late.

    submit -> [queue, bounded in clips] -> owner thread: plan, run, answer each entry -> futures

The queue's condition is the only lock. A request larger than a batch is cut into entries and its answer
is joined again. Every future is completed: with probabilities, or with what went wrong.

One runner is enough on a CPU. On a GPU a second one gathers and copies its batch while the first computes.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field

import numpy as np

from worker.clock import Clock, Deadline
from worker.errors import DeadlineExceeded, ModelRunFailed, SessionBroken, SluiceError
from worker.inference.batcher import BatchPolicy, Plan, Waiting
from worker.inference.types import Answer, EngineEvents, Inputs, Runner, Silent, blank_inputs, joined

log = logging.getLogger(__name__)

LATEST_SHARE = 0.2  # of the latest run in what a clip is expected to take


@dataclass(eq=False, slots=True)
class _Request:
    """What one caller asked for. Its parts are filled in by owner threads, one at a time."""

    future: Future[Answer]
    missing: int  # entries not yet answered
    parts: dict[int, Answer] = field(default_factory=dict)  # first clip -> answer
    is_running: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> bool:
        """False when the caller has gone, or the request has already failed."""
        if self.is_running or self.future.done():
            return not self.future.done()
        self.is_running = self.future.set_running_or_notify_cancel()
        return self.is_running

    def answer(self, start: int, part: Answer) -> None:
        with self.lock:
            self.parts[start] = part
            self.missing -= 1
            is_last = self.missing == 0
        if is_last:
            _complete(self.future, Answer.joined([self.parts[key] for key in sorted(self.parts)]))

    def fail(self, error: SluiceError) -> None:
        _complete(self.future, error)


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """A piece of a request that fits into a batch."""

    request: _Request
    start: int  # index of its first clip in the request
    inputs: Inputs
    enqueued_at_s: float
    deadline_at_s: float
    patience_s: float

    @property
    def waiting(self) -> Waiting:
        return Waiting(len(self.inputs), self.enqueued_at_s, self.deadline_at_s, self.patience_s)


@dataclass(eq=False, slots=True)
class _Owner:
    """A runner, its thread, and what it works on; all but the runner is guarded by the engine's condition."""

    runner: Runner
    thread: threading.Thread = field(init=False)
    running: list[_Entry] = field(default_factory=list)
    run_started_at_s: float | None = None


class Engine:
    """``also``: further runners of the same model, which take batches from the same queue.

    Start with ``start()``, stop with ``close()``. ``broken`` says why it serves no more.
    """

    def __init__(
        self,
        runner: Runner,
        policy: BatchPolicy,
        clock: Clock,
        *,
        queue_clips: int,
        run_timeout_s: float,
        events: EngineEvents | None = None,
        also: Sequence[Runner] = (),
    ) -> None:
        self.spec = runner.spec
        self._policy = policy
        self._clock = clock
        self._queue_clips = queue_clips
        self._run_timeout_s = run_timeout_s
        self._events = events if events is not None else Silent()
        self._changed = threading.Condition()
        # All below is guarded by the condition.
        self._queue: deque[_Entry] = deque()
        self._line: list[tuple[float, int]] = []  # callers waiting for room: when they are due, and a number
        self._tickets = itertools.count()
        self._is_closing = False
        self._broken: str | None = None
        self._clip_s = 0.0  # time of a run over its clips, the latest runs counting most
        name = f"engine-{self.spec.role}"
        # Daemons: a run that hangs inside the vendor's library must not keep the process from ending.
        self._owners = [_Owner(each) for each in (runner, *also)]
        for owner in self._owners:
            owner.thread = threading.Thread(target=self._serve, args=(owner,), name=name, daemon=True)
        self._watchdog = threading.Thread(target=self._watch, name=f"{name}-watchdog", daemon=True)

    @property
    def broken(self) -> str | None:
        """Why the engine cannot serve, for health; None while it can."""
        return self._broken

    def expected_s(self, clips: int, deadline: Deadline, patience_s: float = 0.0) -> float:
        """How long a request would take behind what is due before it, as fast as runs were lately.

        0.0 when there is nothing before it: so a model that was slow for a while is tried again.
        """
        with self._changed:
            due_at_s = min(self._clock.monotonic_s() + patience_s, deadline.at_s)
            running = (entry for owner in self._owners for entry in owner.running)
            queued = (entry for entry in self._queue if entry.waiting.due_at_s <= due_at_s)
            ahead = sum(len(entry.inputs) for entry in itertools.chain(running, queued))
            return (ahead + clips) * self._clip_s / len(self._owners) if ahead else 0.0

    def start(self) -> None:
        for owner in self._owners:
            owner.thread.start()
        self._watchdog.start()

    def submit(self, inputs: Inputs, deadline: Deadline, patience_s: float = 0.0) -> Future[Answer]:
        """Queue a request, which others may overtake by ``patience_s``; blocks while the queue is full.

        The future brings the Answer in the order of the clips, or DeadlineExceeded, ModelRunFailed or
        SessionBroken. Raises DeadlineExceeded when there was no room in time and
        SessionBroken when the engine is broken or closed.
        """
        self._check_shape(inputs)
        request, entries = self._cut(inputs, deadline, patience_s)
        with self._changed:
            self._wait_for_room(len(inputs), entries[0].waiting.due_at_s, deadline)
            self._queue.extend(entries)
            self._events.queue_changed(self.spec.name, self._depth())
            self._changed.notify_all()
        return request.future

    def predict(self, inputs: Inputs, deadline: Deadline, patience_s: float = 0.0) -> Answer:
        """``submit`` and wait for the answer.

        The clips of a caller that gives up leave the queue when the next batch is planned, and are not run.
        """
        future = self.submit(inputs, deadline, patience_s)
        try:
            return future.result(deadline.remaining_s)
        except TimeoutError:
            future.cancel()
            raise DeadlineExceeded(f"the deadline passed while {self.spec.name} worked") from None

    def close(self, timeout_s: float) -> None:
        """Answer what is queued, refuse what is new; what is left after ``timeout_s`` fails."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        ends = Deadline.after(self._clock, timeout_s)
        started = [owner.thread for owner in self._owners if owner.thread.ident is not None]
        for thread in started:
            thread.join(ends.remaining_s)
        if not started or any(thread.is_alive() for thread in started):
            self._break("the engine was closed before this was answered")

    # Callers' side

    def _check_shape(self, inputs: Inputs) -> None:
        expected = self.spec.video.clip_shape
        if len(inputs) == 0 or inputs.clips.dtype != np.uint8 or inputs.clips.shape[1:] != expected:
            raise ValueError(
                f"{self.spec.name} takes uint8 (N, {', '.join(map(str, expected))}), N > 0; "
                f"got {inputs.clips.dtype} {inputs.clips.shape}"
            )

    def _cut(self, inputs: Inputs, deadline: Deadline, patience_s: float) -> tuple[_Request, list[_Entry]]:
        most = self._policy.max_clips
        starts = range(0, len(inputs), most)
        request = _Request(Future(), missing=len(starts))
        now_s = self._clock.monotonic_s()
        entries = [
            _Entry(request, start, inputs.cut(start, start + most), now_s, deadline.at_s, patience_s)
            for start in starts
        ]
        return request, entries

    def _wait_for_room(self, clips: int, due_at_s: float, deadline: Deadline) -> None:
        """A request larger than the whole queue may enter when the queue is empty."""
        ticket = (due_at_s, next(self._tickets))
        self._line.append(ticket)
        try:
            while True:
                self._refuse_when_over()
                depth = self._depth()
                if min(self._line) is ticket and (depth == 0 or depth + clips <= self._queue_clips):
                    return
                deadline.check(f"the queue of {self.spec.name} had room")
                self._changed.wait(deadline.remaining_s)
        finally:
            self._line.remove(ticket)
            self._changed.notify_all()

    def _refuse_when_over(self) -> None:
        if self._broken is not None:
            raise SessionBroken(self._broken)
        if self._is_closing:
            raise SessionBroken(f"the engine of {self.spec.name} is closed")

    def _depth(self) -> int:
        return sum(len(entry.inputs) for entry in self._queue)

    # The owner threads' side

    def _serve(self, owner: _Owner) -> None:
        try:
            while (batch := self._next_batch(owner)) is not None:
                entries, why = batch
                self._run_batch(owner, entries, why)
        except BaseException as error:  # a bug here must fail its callers, not leave them waiting
            log.exception("the engine of %s stopped", self.spec.name)
            self._break(f"the engine of {self.spec.name} stopped: {error!r}")
        finally:
            with self._changed:
                self._changed.notify_all()  # the watchdog leaves with the last owner

    def _next_batch(self, owner: _Owner) -> tuple[list[_Entry], str] | None:
        """The next batch, or None when there will be none."""
        with self._changed:
            while self._broken is None:
                plan = self._policy.plan(
                    [entry.waiting for entry in self._queue],
                    self._clock.monotonic_s(),
                    draining=self._is_closing,
                )
                entries = self._take(plan)
                if entries:
                    owner.running = entries
                    owner.run_started_at_s = self._clock.monotonic_s()
                    return entries, str(plan.why)
                if not self._queue and self._is_closing:
                    return None
                if not plan.taken and not plan.dropped:
                    self._changed.wait(plan.wait_s)
            return None

    def _take(self, plan: Plan) -> list[_Entry]:
        """Carry a plan out; entries whose callers have gone are dropped on the way."""
        if not plan.dropped and not plan.taken:
            return []
        entries = list(self._queue)
        gone = {*plan.dropped, *plan.taken}
        self._queue = deque(entry for i, entry in enumerate(entries) if i not in gone)
        for i in plan.dropped:
            entries[i].request.fail(DeadlineExceeded(f"waited too long for {self.spec.name}"))
        self._events.queue_changed(self.spec.name, self._depth())
        self._changed.notify_all()
        return [entries[i] for i in plan.taken if entries[i].request.start()]

    def _run_batch(self, owner: _Owner, entries: list[_Entry], why: str) -> None:
        started_s = self._clock.monotonic_s()
        try:
            self._answer(owner, entries)
        except Exception as error:
            self._retry_one_by_one(owner, entries, error)
        clips = sum(len(entry.inputs) for entry in entries)
        run_s = self._clock.monotonic_s() - started_s
        with self._changed:
            owner.running = []
            owner.run_started_at_s = None
            self._clip_s += (run_s / clips - self._clip_s) * (LATEST_SHARE if self._clip_s else 1.0)
        self._events.batch_closed(self.spec.name, clips, why, run_s)

    def _answer(self, owner: _Owner, entries: list[_Entry]) -> None:
        output = owner.runner.run(joined([entry.inputs for entry in entries], self.spec))
        answer = Answer(self.spec.calibrated(output.logits), output.embeddings)
        row = 0
        for entry in entries:
            entry.request.answer(entry.start, answer.cut(row, row + len(entry.inputs)))
            row += len(entry.inputs)

    def _retry_one_by_one(self, owner: _Owner, entries: list[_Entry], error: Exception) -> None:
        """Find the offender. When all fail, a blank clip tells whether it is they or the model."""
        failed: list[tuple[_Entry, Exception]] = []
        for entry in entries if len(entries) > 1 else ():
            self._restart_timeout(owner)
            try:
                self._answer(owner, [entry])
            except Exception as own_error:
                failed.append((entry, own_error))
        if len(entries) == 1:
            failed = [(entries[0], error)]
        if len(failed) == len(entries) and (why := self._failure_on_blank(owner)) is not None:
            self._break(f"{self.spec.name} fails for every input: {why}")
            return
        for entry, reason in failed:
            entry.request.fail(ModelRunFailed(f"{self.spec.name} failed on this input: {reason}"))

    def _failure_on_blank(self, owner: _Owner) -> str | None:
        self._restart_timeout(owner)
        try:
            owner.runner.run(blank_inputs(self.spec, 1))
        except Exception as error:
            return repr(error)
        return None

    def _restart_timeout(self, owner: _Owner) -> None:
        with self._changed:
            owner.run_started_at_s = self._clock.monotonic_s()

    # When it goes wrong

    def _watch(self) -> None:
        """A run cannot be interrupted from outside, but its callers need not wait for it."""
        with self._changed:
            while self._broken is None and any(owner.thread.is_alive() for owner in self._owners):
                started_s = [owner.run_started_at_s for owner in self._owners]
                if any(at_s is not None and self._age_s(at_s) > self._run_timeout_s for at_s in started_s):
                    self._break(f"{self.spec.name} did not answer within {self._run_timeout_s:g} s")
                self._changed.wait(min(1.0, self._run_timeout_s / 4))

    def _age_s(self, since_s: float) -> float:
        return self._clock.monotonic_s() - since_s

    def _break(self, why: str) -> None:
        with self._changed:  # re-entrant: a Condition's default lock is an RLock
            if self._broken is None:
                self._broken = why
                log.error("%s", why)
            left = [entry for owner in self._owners for entry in owner.running] + list(self._queue)
            self._queue.clear()
            self._changed.notify_all()
        for entry in left:
            entry.request.fail(SessionBroken(why))


def _complete(future: Future[Answer], outcome: Answer | SluiceError) -> None:
    """The first outcome stands: the watchdog and a run that ends late may both have one."""
    try:
        if isinstance(outcome, SluiceError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
    except InvalidStateError:
        pass
