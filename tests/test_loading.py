"""From the settings' references to models that serve."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.inference import tiny
from tests.model_folders import settings_for, write_filter
from worker.clock import SystemClock
from worker.errors import ArtifactInvalid, PolicyInvalid, SettingsError, SluiceError
from worker.loading import ModelLoader
from worker.settings import Settings
from worker.telemetry.metrics import Metrics


def loader(settings: Settings, metrics: Metrics | None = None) -> ModelLoader:
    return ModelLoader(settings, SystemClock(), metrics or Metrics())


def engines() -> set[threading.Thread]:
    names = ("engine-filter", "engine-escalation")
    return {thread for thread in threading.enumerate() if thread.name in names}


def test_a_set_has_the_filter_first_and_the_escalation_last(tmp_path: Path) -> None:
    models_dir = tmp_path / "models"
    write_filter(models_dir)
    write_filter(models_dir, name="other", labels=tiny.spec(labels=("loud", "quiet")).labels)
    tiny.write(models_dir, role="escalation")
    wanted = {"additional": ("other",), "escalation": "tiny-escalation"}
    load = loader(settings_for(models_dir, inference=wanted))
    models = load.load(load.wanted())
    try:
        assert [model.name for model in models.versions.models] == ["tiny-filter", "other", "tiny-escalation"]
        assert models.broken is None
        assert models.policies.names == ("default",)
    finally:
        for model in models.models:
            model.close()


def test_what_serves_already_is_not_loaded_again(tmp_path: Path) -> None:
    models_dir = tmp_path / "models"
    write_filter(models_dir)
    tiny.write(models_dir, role="escalation")
    load = loader(settings_for(models_dir, inference={"escalation": "tiny-escalation"}))
    before = load.load(load.wanted())
    write_filter(models_dir, "2")
    after = load.load(load.wanted(), before.models)
    try:
        assert after.first[0].version.version == "2"
        assert after.escalation is before.escalation
        assert before.versions != after.versions
    finally:
        for model in {*before.models, *after.models}:
            model.close()


@pytest.mark.parametrize(
    ("inference", "error", "message"),
    [
        ({"embeddings": True}, SettingsError, "tiny-filter@1 has no embedding; set `inference.embeddings`"),
        ({"additional": ("tiny-filter",)}, SettingsError, "label 'bright' is known to tiny-filter and to"),
        ({"variant": "int4"}, ArtifactInvalid, "has no variant 'int4'"),
        ({"escalation": "absent"}, ArtifactInvalid, "no model 'absent'"),
    ],
)
def test_what_cannot_be_served_leaves_nothing_open(
    tmp_path: Path, inference: dict[str, object], error: type[SluiceError], message: str
) -> None:
    write_filter(tmp_path / "models")
    load = loader(settings_for(tmp_path / "models", inference=inference))
    running = engines()
    with pytest.raises(error, match=message):
        load.load(load.wanted())
    assert engines() <= running


def test_a_policy_that_does_not_fit_the_models_is_refused(tmp_path: Path) -> None:
    write_filter(tmp_path / "models", labels=tiny.spec(labels=("loud", "quiet")).labels)
    load = loader(settings_for(tmp_path / "models"))
    with pytest.raises(PolicyInvalid, match="unknown labels bright, dark"):
        load.load(load.wanted())


def test_metrics_say_which_versions_serve(tmp_path: Path) -> None:
    metrics = Metrics()
    write_filter(tmp_path / "models")
    load = loader(settings_for(tmp_path / "models"), metrics)
    models = load.load(load.wanted())
    load.announce(models)
    for model in models.models:
        model.close()
    assert b'sluice_model_info{name="tiny-filter",provider="cpu",role="filter"' in metrics.exposition()
