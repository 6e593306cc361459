"""Other versions in the folder of models serve without a restart; those that cannot are refused."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.inference import tiny
from tests.model_folders import settings_for, write_filter
from tests.routes import BLACK, CLOCK, WHITE, judge, route_of
from worker.cache import MemoryCache
from worker.inference.registry import SHIPPED
from worker.loading import ModelLoader, Wanted
from worker.media.pool import DecodePool
from worker.model_watch import ModelWatch
from worker.serving import Model, ModelSet, ServedModels
from worker.settings import DecodeSettings, Settings
from worker.telemetry.metrics import Metrics


class CountingLoader(ModelLoader):
    loads = 0

    def load(self, wanted: Sequence[Wanted], served: Sequence[Model] = ()) -> ModelSet:
        self.loads += 1
        return super().load(wanted, served)


@dataclass(frozen=True)
class Watched:
    settings: Settings
    metrics: Metrics
    served: ServedModels
    loader: CountingLoader
    watch: ModelWatch

    @property
    def version(self) -> str:
        return self.served.current.first[0].version.version

    def look(self) -> None:
        """Twice: what is found has to be there a second time."""
        self.watch.look()
        self.watch.look()

    def changes(self, outcome: str) -> float:
        return self.metrics.value("sluice_model_changes_total", outcome=outcome)

    @property
    def is_refused(self) -> bool:
        return self.metrics.value("sluice_model_refused") == 1.0


@contextmanager
def watched(settings: Settings) -> Iterator[Watched]:
    assert settings.inference.models_dir is not None
    metrics = Metrics()
    loader = CountingLoader(settings, CLOCK, metrics)
    served = ServedModels(loader.load(loader.wanted()))
    watch = ModelWatch(
        settings.inference.models_dir, served, loader, metrics, interval_s=0.05, patience_s=30.0
    )
    try:
        yield Watched(settings, metrics, served, loader, watch)
    finally:
        served.close()


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    write_filter(tmp_path / "models")
    return tmp_path / "models"


def test_a_newer_version_serves_and_taking_it_away_is_the_way_back(models_dir: Path) -> None:
    with watched(settings_for(models_dir)) as now:
        now.look()
        assert (now.version, now.changes("taken")) == ("1", 0.0)
        newer = write_filter(models_dir, "2")
        now.look()
        assert (now.version, now.changes("taken")) == ("2", 1.0)
        assert b'role="filter"' in now.metrics.exposition()
        shutil.rmtree(newer)
        now.look()
        assert (now.version, now.changes("taken"), now.is_refused) == ("1", 2.0, False)


def test_a_version_that_is_named_stays(models_dir: Path) -> None:
    with watched(settings_for(models_dir, inference={"filter": "tiny-filter@1"})) as now:
        write_filter(models_dir, "2")
        now.look()
        assert now.version == "1"


def test_what_is_still_being_written_is_let_alone(models_dir: Path) -> None:
    with watched(settings_for(models_dir)) as now:
        now.look()
        newer = write_filter(models_dir, "2")
        whole = (newer / "m.onnx").read_bytes()
        (newer / "m.onnx").write_bytes(whole[:100])
        now.watch.look()
        (newer / "m.onnx").write_bytes(whole)
        now.watch.look()
        assert (now.version, now.changes("refused")) == ("1", 0.0)
        now.watch.look()
        assert now.version == "2"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "m.onnx").write_bytes(b"x" * (folder / "m.onnx").stat().st_size),
        lambda folder: (folder / "m.onnx").unlink(),
        lambda folder: (folder / "spec.json").write_text("{}"),
    ],
    ids=["other weights", "no weights", "no spec"],
)
def test_one_that_cannot_serve_is_refused_and_the_old_one_goes_on(models_dir: Path, spoil: object) -> None:
    assert callable(spoil)
    with watched(settings_for(models_dir)) as now:
        newer = write_filter(models_dir, "2")
        spoil(newer)
        now.look()
        now.look()  # said once
        assert (now.version, now.changes("refused"), now.is_refused) == ("1", 1.0, True)
        assert now.served.current.broken is None
        shutil.rmtree(newer)
        write_filter(models_dir, "2")
        now.look()
        assert (now.version, now.is_refused) == ("2", False)


def test_what_was_refused_for_a_passing_reason_serves_later(models_dir: Path) -> None:
    """Such as a file system that gave out something else for a while: no size and no time has changed."""
    with watched(settings_for(models_dir)) as now:
        weights = write_filter(models_dir, "2") / "m.onnx"
        good, stat = weights.read_bytes(), weights.stat()

        def holds(content: bytes) -> None:
            weights.write_bytes(content)
            os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))

        holds(b"x" * len(good))
        now.look()
        assert (now.version, now.is_refused) == ("1", True)
        holds(good)
        now.look()
        assert (now.version, now.is_refused) == ("2", False)


def test_one_that_stays_bad_is_tried_more_and_more_seldom(models_dir: Path) -> None:
    with watched(settings_for(models_dir)) as now:
        (write_filter(models_dir, "2") / "m.onnx").unlink()
        now.watch.look()
        before, tried_at = now.loader.loads, []
        for look in range(1, 101):
            now.watch.look()
            if now.loader.loads > before:
                tried_at.append(look)
            before = now.loader.loads
        assert tried_at == [1, 2, 4, 8, 16, 32, 64]
        assert now.changes("refused") == 1.0, "said once"


def test_a_look_that_fails_is_told_and_the_next_goes_on(models_dir: Path) -> None:
    with watched(settings_for(models_dir)) as now:
        now.look()
        loop = models_dir / "loop"
        loop.symlink_to("loop")
        write_filter(models_dir, "2")
        now.look()
        assert (now.version, now.changes("refused"), now.is_refused) == ("1", 1.0, True)
        loop.unlink()
        now.look()
        assert (now.version, now.is_refused) == ("2", False)


def test_folders_that_come_and_go_do_not_end_the_looking(models_dir: Path) -> None:
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            (models_dir / "other" / "1").mkdir(parents=True)
            shutil.rmtree(models_dir / "other")

    with watched(settings_for(models_dir)) as now, ThreadPoolExecutor(1) as thread:
        coming = thread.submit(come_and_go)
        ends_s = time.monotonic() + 1.0
        try:
            while time.monotonic() < ends_s:
                now.watch.look()
        finally:
            stop.set()
        coming.result(5.0)
        write_filter(models_dir, "2")
        now.look()
        assert (now.version, now.changes("refused")) == ("2", 0.0)


def test_hidden_folders_are_not_looked_at(models_dir: Path) -> None:
    """As `sluice models pull` makes them: what is there is never the same twice."""
    with watched(settings_for(models_dir)) as now:
        hidden = models_dir / ".pull-1" / "tiny-filter"
        hidden.mkdir(parents=True)
        write_filter(models_dir, "2")
        for n in range(2):
            (hidden / str(n)).write_text("")
            now.watch.look()
        assert now.version == "2"


def test_one_whose_labels_the_policy_does_not_know_is_refused(models_dir: Path) -> None:
    with watched(settings_for(models_dir)) as now:
        write_filter(models_dir, "2", labels=tiny.spec(labels=("loud", "quiet")).labels)
        now.look()
        assert (now.version, now.is_refused) == ("1", True)


def test_a_folder_that_is_gone_does_not_bring_the_shipped_model(tmp_path: Path) -> None:
    shipped = sorted((SHIPPED / "violence-filter").iterdir())[-1]
    copied = tmp_path / "models" / "violence-filter" / shipped.name
    shutil.copytree(shipped, copied)
    spec = copied / "spec.json"
    spec.write_text(spec.read_text().replace('"trained_on": "', '"trained_on": "our own and '))
    settings = settings_for(tmp_path / "models", inference={"filter": "violence-filter", "provider": "auto"})
    settings = settings.model_copy(update={"policy": Settings().policy})
    with watched(settings) as now:
        serving = now.served.current
        shutil.rmtree(tmp_path / "models")
        now.look()
        assert now.served.current is serving
        assert now.is_refused


def test_under_load_every_upload_is_judged_by_one_version_or_the_other(models_dir: Path) -> None:
    settings = settings_for(models_dir)
    stop = threading.Event()
    with DecodePool(DecodeSettings(processes=2), CLOCK) as pool, watched(settings) as now:
        route = route_of(
            settings, now.served, pool, now.metrics, cache=MemoryCache(1, now.metrics.cache_event)
        )

        def uploads() -> list[tuple[str, str]]:
            found: list[tuple[str, str]] = []
            while not stop.is_set():
                for media in (WHITE, BLACK):
                    verdict = judge(route, media)
                    found.append((verdict.versions.models[0].version, verdict.decision))
            return found

        with ThreadPoolExecutor(2) as threads:
            loads = [threads.submit(uploads) for _ in range(2)]
            for version, gain in (("2", 8.0), ("3", 1.0), ("4", 8.0)):
                write_filter(models_dir, version, gain=gain)
                now.look()
                assert now.version == version
            stop.set()
            verdicts = {verdict for load in loads for verdict in load.result(60.0)}
    # Gain 8 blocks white, gain 1 has it reviewed; nothing else came out, least of all an error.
    expected = {("1", "review"), ("2", "block"), ("3", "review"), ("4", "block")}
    assert verdicts <= expected | {(version, "allow") for version in "1234"}
    assert len({version for version, _ in verdicts}) >= 2
