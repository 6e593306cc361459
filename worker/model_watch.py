"""Looks at the folder of models, and lets workers serve another version of one without a restart.

The version that is meant is found, verified, loaded and warmed up beside the one that serves; then new
uploads go to it, and the old one is closed after its last. One that cannot serve is refused, and the old
one goes on. Putting a newer version into the folder is the upgrade; taking it away is the way back.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

import structlog

from worker.errors import ArtifactInvalid, SluiceError
from worker.loading import ModelLoader, Wanted
from worker.serving import Model, ServedModels
from worker.telemetry.metrics import Metrics

CLOSE_TIMEOUT_S = 5.0

log = structlog.get_logger(__name__)

Files = frozenset[tuple[str, int, int]]  # path, size, time of the last change in ns

# Gone meanwhile, so that another look will tell; a file beside the folders; or the like of lost+found.
_NOT_THERE = (FileNotFoundError, NotADirectoryError, PermissionError)


class ModelWatch:
    """A thread of its own: loading takes seconds, on TensorRT minutes. ``start`` it, ``close`` it."""

    def __init__(
        self,
        folder: Path,
        served: ServedModels,
        loader: ModelLoader,
        metrics: Metrics,
        *,
        interval_s: float,
        patience_s: float,
    ) -> None:
        """``patience_s``: how long an upload may take that began with the models before."""
        self._folder = folder
        self._served = served
        self._loader = loader
        self._metrics = metrics
        self._interval_s = interval_s
        self._patience_s = patience_s
        self._latest: Files | None = None
        self._looks_alike = 0  # how often it was seen again since
        self._settled = False  # what is meant by it serves
        self._refused_for = ""  # said once
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="model-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """A model that is being loaded now is not waited for; the process ends without it."""
        self._stop.set()
        self._thread.join(CLOSE_TIMEOUT_S)

    def look(self) -> None:
        """Take up what has changed since, once it was the same in two looks: files are copied one by one.

        What was refused is tried again 1, 2, 4, 8 and so on looks later. So what failed for a passing reason
        serves after about twice the time that the reason lasted, and a bad model is not loaded over and
        over: 14 times in the first day, at a look every 10 s.
        """
        try:
            found = _files(self._folder)
        except OSError as error:  # of a network file system that is away, for example
            self._latest = None
            self._refuse(f"cannot look into {self._folder}: {error}")
            return
        if found != self._latest:
            self._latest, self._looks_alike, self._settled, self._refused_for = found, 0, False, ""
            return
        self._looks_alike += 1
        if not self._settled and self._looks_alike.bit_count() == 1:
            self._settled = self._take_up()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self.look()

    def _take_up(self) -> bool:
        """False when it was refused."""
        before = self._served.current.models
        try:
            wanted = self._loader.wanted()
            fresh = [each for each in wanted if not any(each.is_served_by(model) for model in before)]
            if fresh:
                self._check_place(fresh)
                self._change(wanted, before)
        except SluiceError as error:
            self._refuse(str(error))
            return False
        except Exception as error:  # whatever a vendor's library thinks of the file
            self._refuse(repr(error))
            return False
        self._metrics.model_refused(False)
        return True

    def _check_place(self, fresh: list[Wanted]) -> None:
        """A folder that was taken away is no reason to serve what ships with Sluice."""
        for each in fresh:
            if not each.artifact.folder.is_relative_to(self._folder):
                raise ArtifactInvalid(
                    f"{each.artifact.spec.name} is not in {self._folder} any more, and what is meant now is "
                    f"{each.artifact.reference} in {each.artifact.folder}: restore it, or restart"
                )

    def _change(self, wanted: list[Wanted], before: tuple[Model, ...]) -> None:
        models = self._loader.load(wanted, before)
        self._served.replace(models, self._patience_s)
        self._loader.announce(models)
        self._metrics.models_changed("taken")
        log.info("models_changed", models=[each.artifact.reference for each in wanted])

    def _refuse(self, why: str) -> None:
        if why == self._refused_for:
            return
        self._refused_for = why
        serving = [f"{each.version.name}@{each.version.version}" for each in self._served.current.models]
        log.error("model_refused", error=why, serving=serving)
        self._metrics.models_changed("refused")
        self._metrics.model_refused(True)


def _files(folder: Path) -> Files:
    """Of the versions in a folder: ``<name>/<version>/<file>``. Raises OSError where it cannot be read."""
    found = set()
    for path in (file for name in _inside(folder) for version in _inside(name) for file in _inside(version)):
        with suppress(*_NOT_THERE):
            stat = path.stat()
            found.add((str(path), stat.st_size, stat.st_mtime_ns))
    return frozenset(found)


def _inside(folder: Path) -> list[Path]:
    """Hidden ones are none of ours: `sluice models pull` makes and removes some all the time."""
    with suppress(*_NOT_THERE):
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    return []
