"""From references in the settings to models that are verified, loaded and warm."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import structlog

from worker.cascade.policy import load_policies
from worker.cascade.policy_file import read_policy_file
from worker.clock import Clock
from worker.errors import SettingsError
from worker.inference.batcher import BatchPolicy
from worker.inference.engine import Engine
from worker.inference.providers import GpuOptions, most_clips
from worker.inference.registry import Artifact, find_artifact
from worker.inference.session import Session, open_session
from worker.messages import ModelVersion
from worker.serving import Model, ModelSet
from worker.settings import InferenceSettings, Settings
from worker.telemetry.drift import expect_scores
from worker.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model that the settings name, as it lies in its folder now."""

    role: str  # filter, additional or escalation
    artifact: Artifact
    variant: str  # empty: the best for the provider

    def is_served_by(self, model: Model) -> bool:
        spec, found = self.artifact.spec, model.version
        named = (found.name, found.version) == (spec.name, spec.version)
        return named and found.spec_sha256 == _digest(self.artifact)


class ModelLoader:
    """Loads what the settings name. The policy file is read once: only models change while a worker runs."""

    def __init__(self, settings: Settings, clock: Clock, metrics: Metrics) -> None:
        """Raises PolicyInvalid for a policy file that cannot be read."""
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._policy_file = read_policy_file(settings.policy.file) if settings.policy.file else None

    def wanted(self) -> list[Wanted]:
        """The filter, the additional models, and the escalation model if there is one.

        Raises ArtifactInvalid for one that cannot be found, or whose spec is wrong.
        """
        inference = self._settings.inference
        wanted = [self.find("filter", inference.filter, inference.variant)]
        wanted += [self.find("additional", reference) for reference in inference.additional]
        if inference.escalation:
            wanted.append(self.find("escalation", inference.escalation, inference.variant))
        return wanted

    def find(self, role: str, reference: str, variant: str = "") -> Wanted:
        return Wanted(role, find_artifact(reference, self._settings.inference.models_dir), variant)

    def load(self, wanted: Sequence[Wanted], served: Sequence[Model] = ()) -> ModelSet:
        """What is among ``served`` already is taken from there rather than loaded.

        Raises ArtifactInvalid, ProviderMissing, PolicyInvalid or SettingsError, and leaves nothing open then.
        """
        with ExitStack() as stack:
            models: dict[str, list[Model]] = {"filter": [], "additional": [], "escalation": []}
            for each in wanted:
                model = next((model for model in served if each.is_served_by(model)), None)
                if model is None:
                    model = self.open(each)
                    stack.callback(model.close)
                models[each.role].append(model)
            escalation = models["escalation"][0] if models["escalation"] else None
            found = self.combined((*models["filter"], *models["additional"]), escalation)
            stack.pop_all()
        return found

    def open(self, wanted: Wanted) -> Model:
        """One model, verified, loaded and warm."""
        with ExitStack() as stack:
            sessions = []
            for _ in range(self._settings.inference.sessions):
                sessions.append(self._session(wanted))
                stack.callback(sessions[-1].close)
            model = Model(self._engine(sessions), _version(sessions[0]), tuple(sessions))
            stack.pop_all()
        return model

    def combined(self, first: Sequence[Model], escalation: Model | None) -> ModelSet:
        """These models as one set, under the policies of the settings."""
        _check_labels(first)
        settings = self._settings.policy
        policies = load_policies(
            self._policy_file,
            [model.spec for model in first],
            escalation.spec if escalation else None,
            default=settings.default,
            max_escalated_clips=settings.max_escalated_clips,
        )
        embedded_by = _embedded_by(first[0]) if self._settings.inference.embeddings else None
        return ModelSet(tuple(first), escalation, policies, embedded_by)

    def announce(self, models: ModelSet) -> None:
        """Tell the metrics which models serve, and which scores are to be expected of them."""
        policy = models.policies.get(self._settings.policy.default)
        roles = ["filter"] + ["additional"] * (len(models.first) - 1) + ["escalation"]
        for role, model in zip(roles, models.models, strict=False):
            session = model.sessions[0]
            self._metrics.model_loaded(role, provider=session.provider, **model.version.model_dump())
            if role != "escalation":
                expect_scores(
                    self._metrics, model.spec, session.artifact.folder, session.variant.precision, policy
                )

    def _session(self, wanted: Wanted) -> Session:
        settings = self._settings.inference
        session = open_session(
            wanted.artifact,
            provider=settings.provider,
            variant=wanted.variant,
            threads=settings.threads,
            gpu=GpuOptions(settings.max_batch_clips, settings.cuda_graphs, settings.engine_cache_dir),
        )
        warmth = session.warm_up(_most_clips(session, settings))
        log.info(
            "model_loaded",
            model=wanted.artifact.reference,
            variant=session.variant.name,
            provider=session.provider,
            warm_up_s=round(warmth.total_s, 2),
        )
        return session

    def _engine(self, sessions: Sequence[Session]) -> Engine:
        settings = self._settings.inference
        engine = Engine(
            sessions[0],
            BatchPolicy(_most_clips(sessions[0], settings), settings.max_batch_delay_s),
            self._clock,
            queue_clips=settings.queue_clips,
            run_timeout_s=settings.engine_timeout_s,
            events=self._metrics,
            also=sessions[1:],
        )
        engine.start()
        return engine


def _most_clips(session: Session, settings: InferenceSettings) -> int:
    return most_clips(session.provider, session.spec, settings.max_batch_clips)


def _version(session: Session) -> ModelVersion:
    spec = session.spec
    return ModelVersion(
        name=spec.name,
        version=spec.version,
        variant=session.variant.name,
        sha256=session.variant.sha256,
        spec_sha256=_digest(session.artifact),
    )


def _digest(artifact: Artifact) -> str:
    return hashlib.sha256(artifact.spec.model_dump_json().encode()).hexdigest()


def _check_labels(first: Sequence[Model]) -> None:
    """Two models that look at every upload and know one label would leave open whose word counts."""
    known: dict[str, str] = {}
    for model in first:
        for label in model.spec.label_names:
            if label in known:
                raise SettingsError(
                    f"label {label!r} is known to {known[label]} and to {model.spec.name}: "
                    "take one of them out of inference.filter and inference.additional"
                )
            known[label] = model.spec.name


def _embedded_by(model: Model) -> ModelVersion:
    if model.spec.embedding is None:
        raise SettingsError(
            f"model {model.spec.name}@{model.spec.version} has no embedding; set `inference.embeddings` to "
            "false, or `inference.filter` to a model that was exported with one"
        )
    return model.version
