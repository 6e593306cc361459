"""The models that judge uploads, and how another set of them takes over while uploads are in flight.

An upload keeps the set that it began with, so that its scores, its policy and the versions in its verdict
belong together. A set that was replaced is closed once its last upload has its verdict.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import structlog

from models.spec import ModelSpec
from worker import __version__
from worker.cascade.policy import Policies, Policy
from worker.inference.engine import Engine
from worker.inference.session import Session
from worker.messages import ModelVersion, Versions

CLOSE_TIMEOUT_S = 5.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A model that is being served."""

    engine: Engine
    version: ModelVersion
    sessions: tuple[Session, ...] = ()  # that the engine runs on, to be closed after it

    @property
    def spec(self) -> ModelSpec:
        return self.engine.spec

    def close(self) -> None:
        self.engine.close(CLOSE_TIMEOUT_S)
        for session in self.sessions:
            session.close()


@dataclass(frozen=True, eq=False)
class ModelSet:
    """The models that judge an upload together, and the policies as resolved against them."""

    first: tuple[Model, ...]  # those that look at every upload, the filter first
    escalation: Model | None
    policies: Policies
    embedded_by: ModelVersion | None = None  # whose embedding verdicts carry; None: they carry none

    @property
    def models(self) -> tuple[Model, ...]:
        return (*self.first, self.escalation) if self.escalation else self.first

    @cached_property
    def versions(self) -> Versions:
        return Versions(
            models=tuple(model.version for model in self.models),
            taxonomy=self.first[0].spec.taxonomy,
            code=__version__,
        )

    def versions_under(self, policy: Policy, sampling: str) -> Versions:
        """All that a decision under ``policy`` depends on; ``sampling``: the plan's fingerprint."""
        return self.versions.model_copy(
            update={
                "policy": f"{policy.name}@{self.policies.version}",
                "sampling": f"{sampling}, escalated<={policy.max_escalated_clips}",
            }
        )

    @property
    def broken(self) -> str | None:
        """Why a model cannot serve; None while all can."""
        return next((model.engine.broken for model in self.models if model.engine.broken), None)


class ServedModels:
    """Which set judges the uploads that begin now. Thread-safe. ``close`` it when nobody uses it any more."""

    def __init__(self, models: ModelSet) -> None:
        self._changed = threading.Condition()
        self._current = models
        self._users: Counter[ModelSet] = Counter()

    @property
    def current(self) -> ModelSet:
        return self._current

    @contextmanager
    def use(self) -> Iterator[ModelSet]:
        """The current set, which is not closed before this ends."""
        with self._changed:
            models = self._current
            self._users[models] += 1
        try:
            yield models
        finally:
            with self._changed:
                self._users[models] -= 1
                self._changed.notify_all()

    def replace(self, models: ModelSet, patience_s: float) -> None:
        """Let ``models`` judge from now on. Returns when what only the set before had is closed.

        That is once nobody uses it, or after ``patience_s``: who still waits for it then gets SessionBroken.
        """
        with self._changed:
            before, self._current = self._current, models
            if not self._changed.wait_for(lambda: self._users[before] == 0, patience_s):
                log.warning("models_still_used", after_s=patience_s, uploads=self._users[before])
            del self._users[before]
        for model in before.models:
            if model not in models.models:
                model.close()

    def close(self) -> None:
        for model in self._current.models:
            model.close()
