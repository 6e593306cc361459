"""Serves one model to many threads: one owner thread, one queue, batches formed late.

    submit -> [queue, bounded in clips] -> owner thread: plan, run, answer each entry -> futures

The queue's condition is the only lock. A request larger than a batch is cut into entries and its answer
is joined again. Every future is completed: with probabilities, or with what went wrong.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field

import numpy as np

from worker.clock import Clock, Deadline
from worker.errors import DeadlineExceeded, ModelRunFailed, SessionBroken, SluiceError
from worker.inference.batcher import BatchPolicy, Plan, Waiting
from worker.inference.types import Answer, EngineEvents, Inputs, Runner, Silent, blank_inputs, joined

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Request:
    """What one caller asked for. Its parts are filled in by the owner thread alone."""

    future: Future[Answer]
    missing: int  # entries not yet answered
    parts: dict[int, Answer] = field(default_factory=dict)  # first clip -> answer
    is_running: bool = False

    def start(self) -> bool:
        """False when the caller has gone, or the request has already failed."""
        if self.is_running or self.future.done():
            return not self.future.done()
        self.is_running = self.future.set_running_or_notify_cancel()
        return self.is_running

    def answer(self, start: int, part: Answer) -> None:
        self.parts[start] = part
        self.missing -= 1
        if self.missing == 0:
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


class Engine:
    """Start with ``start()``, stop with ``close()``. ``broken`` says why it serves no more."""

    def __init__(
        self,
        runner: Runner,
        policy: BatchPolicy,
        clock: Clock,
        *,
        queue_clips: int,
        run_timeout_s: float,
        events: EngineEvents | None = None,
    ) -> None:
        self.spec = runner.spec
        self._runner = runner
        self._policy = policy
        self._clock = clock
        self._queue_clips = queue_clips
        self._run_timeout_s = run_timeout_s
        self._events = events if events is not None else Silent()
        self._changed = threading.Condition()
        # All below is guarded by the condition.
        self._queue: deque[_Entry] = deque()
        self._running: list[_Entry] = []
        self._run_started_at_s: float | None = None
        self._line: list[tuple[float, int]] = []  # callers waiting for room: when they are due, and a number
        self._tickets = itertools.count()
        self._is_closing = False
        self._broken: str | None = None
        name = f"engine-{self.spec.role}"
        # Daemons: a run that hangs inside the vendor's library must not keep the process from ending.
        self._owner = threading.Thread(target=self._serve, name=name, daemon=True)
        self._watchdog = threading.Thread(target=self._watch, name=f"{name}-watchdog", daemon=True)

    @property
    def broken(self) -> str | None:
        """Why the engine cannot serve, for health; None while it can."""
        return self._broken

    @property
    def queued_clips(self) -> int:
        with self._changed:
            return self._depth()

    def start(self) -> None:
        self._owner.start()
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
        """``submit`` and wait for the answer. A caller that gives up frees its place in the queue."""
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
        if self._owner.ident is not None:
            self._owner.join(timeout_s)
        if self._owner.is_alive() or self._owner.ident is None:
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

    # The owner thread's side

    def _serve(self) -> None:
        try:
            while (batch := self._next_batch()) is not None:
                entries, why = batch
                self._run_batch(entries, why)
        except BaseException as error:  # a bug here must fail its callers, not leave them waiting
            log.exception("the engine of %s stopped", self.spec.name)
            self._break(f"the engine of {self.spec.name} stopped: {error!r}")
        finally:
            with self._changed:
                self._changed.notify_all()  # the watchdog leaves with the owner

    def _next_batch(self) -> tuple[list[_Entry], str] | None:
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
                    self._running = entries
                    self._run_started_at_s = self._clock.monotonic_s()
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

    def _run_batch(self, entries: list[_Entry], why: str) -> None:
        started_s = self._clock.monotonic_s()
        try:
            self._answer(entries)
        except Exception as error:
            self._retry_one_by_one(entries, error)
        with self._changed:
            self._running = []
            self._run_started_at_s = None
        clips = sum(len(entry.inputs) for entry in entries)
        self._events.batch_closed(self.spec.name, clips, why, self._clock.monotonic_s() - started_s)

    def _answer(self, entries: list[_Entry]) -> None:
        output = self._runner.run(joined([entry.inputs for entry in entries], self.spec))
        answer = Answer(self.spec.calibrated(output.logits), output.embeddings)
        row = 0
        for entry in entries:
            entry.request.answer(entry.start, answer.cut(row, row + len(entry.inputs)))
            row += len(entry.inputs)

    def _retry_one_by_one(self, entries: list[_Entry], error: Exception) -> None:
        """Find the offender. When all fail, a blank clip tells whether it is they or the model."""
        failed: list[tuple[_Entry, Exception]] = []
        for entry in entries if len(entries) > 1 else ():
            self._restart_timeout()
            try:
                self._answer([entry])
            except Exception as own_error:
                failed.append((entry, own_error))
        if len(entries) == 1:
            failed = [(entries[0], error)]
        if len(failed) == len(entries) and (why := self._failure_on_blank()) is not None:
            self._break(f"{self.spec.name} fails for every input: {why}")
            return
        for entry, reason in failed:
            entry.request.fail(ModelRunFailed(f"{self.spec.name} failed on this input: {reason}"))

    def _failure_on_blank(self) -> str | None:
        self._restart_timeout()
        try:
            self._runner.run(blank_inputs(self.spec, 1))
        except Exception as error:
            return repr(error)
        return None

    def _restart_timeout(self) -> None:
        with self._changed:
            self._run_started_at_s = self._clock.monotonic_s()

    # When it goes wrong

    def _watch(self) -> None:
        """A run cannot be interrupted from outside, but its callers need not wait for it."""
        with self._changed:
            while self._broken is None and self._owner.is_alive():
                started_at_s = self._run_started_at_s
                if started_at_s is not None and self._age_s(started_at_s) > self._run_timeout_s:
                    self._break(f"{self.spec.name} did not answer within {self._run_timeout_s:g} s")
                self._changed.wait(min(1.0, self._run_timeout_s / 4))

    def _age_s(self, since_s: float) -> float:
        return self._clock.monotonic_s() - since_s

    def _break(self, why: str) -> None:
        with self._changed:  # re-entrant: a Condition's default lock is an RLock
            if self._broken is None:
                self._broken = why
                log.error("%s", why)
            left = [*self._running, *self._queue]
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
