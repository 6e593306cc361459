"""Models on trial see a share of the uploads, and verdicts are as they would be without them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.fakes.broker import FakeBroker, FakeProducer
from tests.fakes.clock import ManualClock
from tests.inference import tiny
from tests.model_folders import settings_for, write_filter
from tests.routes import BLACK, CLOCK, WHITE, judge, route_of
from worker.cache import MemoryCache
from worker.errors import ArtifactInvalid, PolicyInvalid
from worker.loading import ModelLoader
from worker.media.pool import DecodePool
from worker.media.types import Media
from worker.messages import ShadowComparison
from worker.serving import ServedModels
from worker.settings import DecodeSettings, Settings, ShadowSettings
from worker.shadow import Allowance, Shadow, chosen
from worker.telemetry.metrics import Metrics


class Trial:
    """A moderator with a shadow beside it."""

    def __init__(self, settings: Settings, pool: DecodePool) -> None:
        self.broker = FakeBroker()
        self.metrics = Metrics()
        loader = ModelLoader(settings, CLOCK, self.metrics)
        self.served = ServedModels(loader.load(loader.wanted()))
        self.shadow = Shadow(settings, self.served, pool, FakeProducer(self.broker), CLOCK, self.metrics)
        self.route = route_of(settings, self.served, pool, self.metrics, shadow=self.shadow)

    def seen(self, outcome: str) -> float:
        return self.metrics.value("sluice_shadow_uploads_total", outcome=outcome)

    def comparisons(self, count: int) -> list[ShadowComparison]:
        """As soon as there are so many."""
        until_s = time.monotonic() + 20.0
        while len(found := self.broker.records("verdicts.shadow")) < count:
            assert time.monotonic() < until_s, f"{len(found)} of {count} comparisons came"
            time.sleep(0.01)
        return [ShadowComparison.model_validate_json(record.value or b"") for record in found]


@contextmanager
def trial(settings: Settings, pool: DecodePool) -> Iterator[Trial]:
    made = Trial(settings, pool)
    made.shadow.start()
    try:
        yield made
    finally:
        made.shadow.close()
        made.served.close()


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(DecodeSettings(processes=1), CLOCK) as pool:
        yield pool


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    write_filter(tmp_path / "models")
    write_filter(tmp_path / "models", name="candidate", gain=8.0)
    return tmp_path / "models"


def on_trial(models_dir: Path, **fields: object) -> Settings:
    given = {"filter": "candidate", "share": 1.0, "max_busy": 1.0, **fields}
    return settings_for(models_dir, shadow=ShadowSettings.model_validate(given))


def test_what_both_say_goes_to_a_topic_of_its_own(pool: DecodePool, models_dir: Path) -> None:
    with trial(on_trial(models_dir), pool) as made:
        verdict = judge(made.route, WHITE)
        (comparison,) = made.comparisons(1)
    assert (verdict.decision, verdict.versions.models[0].name) == ("review", "tiny-filter")
    assert (comparison.upload_id, comparison.sha256, comparison.agrees) == ("u-1", verdict.sha256, False)
    assert (comparison.served.decision, comparison.shadow.decision) == ("review", "block")
    assert comparison.served.labels == verdict.labels
    assert comparison.served.versions == verdict.versions
    assert [model.name for model in comparison.shadow.versions.models] == ["candidate"]
    assert comparison.shadow.labels[0].probability == pytest.approx(0.9997, abs=0.001)
    assert (made.seen("disagreed"), made.seen("agreed")) == (1.0, 0.0)
    assert made.metrics.value("sluice_shadow_seconds_total") > 0.0


def test_verdicts_and_their_metrics_are_as_without_it(pool: DecodePool, models_dir: Path) -> None:
    with trial(on_trial(models_dir), pool) as made:
        beside = judge(made.route, WHITE)
        made.comparisons(1)
        scored = made.metrics.value("sluice_scores_total", label="bright", bin="0.8")
        batches = made.metrics.value("sluice_batch_clips_count", model="candidate")
        uploads = made.metrics.value(
            "sluice_uploads_total", decision="review", decided_by="filter", reason=""
        )
    with trial(on_trial(models_dir, share=1e-9), pool) as made:
        alone = judge(made.route, WHITE)
    assert (scored, batches, uploads) == (1.0, 0.0, 1.0)
    assert beside.verdict_id == alone.verdict_id
    assert (beside.labels, beside.segments) == (alone.labels, alone.segments)


def test_what_comes_from_the_cache_is_not_looked_at_again(pool: DecodePool, models_dir: Path) -> None:
    with trial(on_trial(models_dir), pool) as made:
        judge(made.route, BLACK)
        made.comparisons(1)
        assert judge(made.route, BLACK, upload_id="u-2").decided_by == "cache"
    assert len(made.broker.records("verdicts.shadow")) == 1


def test_an_escalation_on_trial_is_asked_by_the_filter_that_serves(
    pool: DecodePool, models_dir: Path
) -> None:
    tiny.write(models_dir, role="escalation")
    tiny.write(models_dir, tiny.video_graph(gain=8.0), role="escalation", name="second-look")
    settings = settings_for(
        models_dir,
        inference={"escalation": "tiny-escalation"},
        shadow=ShadowSettings(escalation="second-look", share=1.0, max_busy=1.0),
    )
    policy = settings.policy.file
    assert policy is not None
    policy.write_text(policy.read_text().replace("[0.55, 0.7]", "[0.55, 0.8]"))
    with trial(settings, pool) as made:
        verdict = judge(made.route, WHITE)
        (comparison,) = made.comparisons(1)
    assert (verdict.decision, verdict.decided_by) == ("review", "escalation")
    assert (comparison.shadow.decision, comparison.shadow.decided_by) == ("block", "escalation")
    assert [each.name for each in comparison.shadow.versions.models] == ["tiny-filter", "second-look"]


def test_without_time_left_uploads_are_left_out_and_counted(pool: DecodePool, models_dir: Path) -> None:
    with trial(on_trial(models_dir, max_busy=1e-6), pool) as made:
        for count in range(5):
            judge(made.route, WHITE, upload_id=f"u-{count}", sha256=None, policy=None)
            made.route._cache = MemoryCache(16, made.metrics.cache_event)
        made.comparisons(1)
    assert made.seen("left_out") == 4.0
    assert len(made.broker.records("verdicts.shadow")) == 1


def test_a_candidate_that_fails_harms_nobody(pool: DecodePool, models_dir: Path) -> None:
    with trial(on_trial(models_dir), pool) as made:
        made.shadow._own["filter"].engine.close(1.0)
        verdict = judge(made.route, WHITE)
        (comparison,) = made.comparisons(1)
    assert verdict.reason == ""
    assert (comparison.shadow.decided_by, comparison.shadow.reason) == ("error", "session_broken")
    assert made.seen("failed") == 1.0


def test_it_lets_go_of_the_media(pool: DecodePool, models_dir: Path) -> None:
    with trial(on_trial(models_dir), pool) as made:
        judge(made.route, WHITE)
        made.comparisons(1)
        before = len(os.listdir("/proc/self/fd"))
        for count in range(2, 5):
            made.route._cache = MemoryCache(16, made.metrics.cache_event)
            judge(made.route, WHITE, upload_id=f"u-{count}")
            made.comparisons(count)
        until_s = time.monotonic() + 5.0
        while (open_files := len(os.listdir("/proc/self/fd"))) > before and time.monotonic() < until_s:
            time.sleep(0.01)
    assert open_files <= before


def test_without_descriptors_the_verdict_stands(
    pool: DecodePool, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(media: Media) -> Media:
        raise OSError("Too many open files")

    monkeypatch.setattr(Media, "duplicate", refused)
    with trial(on_trial(models_dir), pool) as made:
        assert judge(made.route, WHITE).reason == ""
    assert made.seen("failed") == 1.0


@pytest.mark.parametrize(("candidate", "error"), [("absent", ArtifactInvalid), ("loud", PolicyInvalid)])
def test_a_candidate_that_cannot_take_the_place_is_refused_at_start(
    pool: DecodePool, models_dir: Path, candidate: str, error: type[Exception]
) -> None:
    write_filter(models_dir, name="loud", labels=tiny.spec(labels=("loud", "quiet")).labels)
    settings = on_trial(models_dir, filter=candidate)
    loader = ModelLoader(settings, CLOCK, Metrics())
    with closing(ServedModels(loader.load(loader.wanted()))) as served, pytest.raises(error):
        Shadow(settings, served, pool, FakeProducer(FakeBroker()), CLOCK, Metrics())


@pytest.mark.parametrize("share", [0.05, 0.5, 1.0])
def test_the_same_uploads_are_chosen_everywhere(share: float) -> None:
    found = [chosen(f"upload-{number}", share) for number in range(4000)]
    assert sum(found) / len(found) == pytest.approx(share, abs=0.02)
    assert found == [chosen(f"upload-{number}", share) for number in range(4000)]


def test_an_allowance_is_a_share_of_the_time() -> None:
    clock = ManualClock()
    allowance = Allowance(0.1, clock, credit_s=10.0)
    allowance.used(1.5)  # one second was there at the start
    assert not allowance.is_left
    clock.advance(5.1)
    assert allowance.is_left
    clock.advance(1e6)
    assert allowance.is_left
    allowance.used(10.5)  # no more than ten were saved up
    assert not allowance.is_left
