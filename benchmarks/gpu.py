"""Everything that is measured on a GPU, in one command.

    python -m benchmarks.gpu [--provider cuda] [--provider tensorrt] [--out FOLDER]

The served filter and escalation model, and SlowFast R50 and R(2+1)D-18 at their papers' sizes with random
weights. Each on each provider, in this order: its scores against those of the FP32 variant on the CPU (what
differs by more than ``TOLERANCE`` is not timed, and the command fails); clips a second by batch size, copies
included, and the network's time alone; its share of the roofline, at the FP16 rate whatever the precision;
clips a second through the engine, and the time from a decoded clip to its score while uploads come at random
at a part of that rate. Clips are made, not decoded: no video decoder is imported. ``--smoke`` runs all of it
at small sizes, to try the command.
"""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.gpu_load import latencies_ms, saturated_clips_per_s
from benchmarks.gpu_machine import gpu, used_mib
from benchmarks.report import show, write
from benchmarks.roofline import BYTES, Peaks, layers, least_s, measured_peaks
from models.spec import ModelSpec
from worker.inference.providers import ON_GPU, GpuOptions, batch_sizes, chain
from worker.inference.registry import Artifact, find_artifact
from worker.inference.session import Session, open_session
from worker.inference.types import Inputs, Probabilities

SERVED = ("violence-filter", "violence-escalation")
REFERENCE = ("cpu", "fp32")  # provider and variant whose scores are right
# Largest difference of a score. FP32 of a GPU multiplies in TF32; INT8 differs as much on a CPU.
TOLERANCE = {"fp32": 0.01, "fp16": 0.02, "int8": 0.15}
LOAD = 0.8  # of the engine's rate, while latency is measured


Row = dict[str, Any]


@dataclass(frozen=True)
class Way:
    """How a network is run."""

    provider: str
    variant: str
    cuda_graphs: bool


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    max_batch_clips: int
    checked_clips: int
    seconds: float  # of each measurement
    matrix_side: int
    copied_bytes: int
    threads: int = 0  # of a session on a CPU; 0: all cores


FULL = Scale(max_batch_clips=32, checked_clips=8, seconds=1.5, matrix_side=8192, copied_bytes=2**30)
SMOKE = Scale(max_batch_clips=1, checked_clips=1, seconds=0.02, matrix_side=64, copied_bytes=2**16, threads=1)


@dataclass(frozen=True)
class Subject:
    """A network, clips for it, and the scores that are right."""

    artifact: Artifact
    inputs: Inputs
    scores: Probabilities


def subject(artifact: Artifact, scale: Scale) -> Subject:
    inputs = made_inputs(artifact.spec, max(scale.checked_clips, scale.max_batch_clips))
    provider, variant = REFERENCE
    session = open_session(artifact, provider=provider, variant=variant, threads=scale.threads)
    return Subject(artifact, inputs, scores(session, inputs.cut(0, scale.checked_clips)))


def scores(session: Session, inputs: Inputs) -> Probabilities:
    return session.spec.calibrated(session.run(inputs).logits)


def made_inputs(spec: ModelSpec, clips: int) -> Inputs:
    """Waves of colour that drift, which a network sees more in than in noise; every second one with sound."""
    random = np.random.default_rng(0)
    frames, height, width, _ = spec.video.clip_shape
    y, x = np.mgrid[0 : 2 * np.pi : height * 1j, 0 : 2 * np.pi : width * 1j]
    video = np.empty((clips, *spec.video.clip_shape), np.uint8)
    for clip in video:
        across, down, drift, start = random.uniform(0.5, 4.0, (4, 3))
        for frame in range(frames):
            phase = across * x[..., None] + down * y[..., None] + drift * frame / 4 + start
            clip[frame] = 127.5 + 120 * np.sin(phase)
    if spec.audio is None:
        return Inputs(video)
    shape = (clips, spec.audio.frames, spec.audio.mels)
    return Inputs(
        video, random.uniform(-1, 1, shape).astype(np.float32), (np.arange(clips) % 2).astype(np.float32)
    )


def measure(subject: Subject, way: Way, scale: Scale, cache: Path) -> Row:
    """One row. ``wrong`` is set, and nothing is timed, where the scores are not those of the reference."""
    artifact, options = subject.artifact, GpuOptions(scale.max_batch_clips, way.cuda_graphs, cache)

    def opened() -> tuple[Session, float]:
        begun_s = time.perf_counter()
        session = open_session(
            artifact, provider=way.provider, variant=way.variant, threads=scale.threads, gpu=options
        )
        session.warm_up(scale.max_batch_clips)
        return session, round(time.perf_counter() - begun_s, 2)

    before_mib = used_mib()
    session, start_s = opened()
    precision = session.variant.precision
    row: Row = {"nodes": dict(session.nodes), "start_s": start_s}
    row |= {"memory_mib": used_mib() - before_mib, "tolerance": TOLERANCE[precision]}
    found = scores(session, subject.inputs.cut(0, len(subject.scores)))
    row["worst_difference"] = round(float(np.abs(found - subject.scores).max()), 4)
    if not row["worst_difference"] <= row["tolerance"]:
        session.close()
        return row | {"wrong": f"scores differ by {row['worst_difference']} from {'/'.join(REFERENCE)}"}
    peaks = peaks_of(way.provider in ON_GPU, scale)
    row["batches"] = [
        _batch(session, subject, clips, scale, peaks, BYTES[precision])
        for clips in batch_sizes(scale.max_batch_clips)
    ]
    second, row["start_again_s"] = opened()  # with the engines that the first start has built
    row["engine"] = _engine([session], [session, second], subject, scale)
    for each in (session, second):
        each.close()
    return row


def _batch(
    session: Session, subject: Subject, clips: int, scale: Scale, peaks: Peaks, bytes_per_value: int
) -> dict[str, float]:
    inputs = subject.inputs.cut(0, clips)
    run_s = _median_s(lambda: session.run(inputs), scale.seconds / 3)
    network_s = _median_s(lambda: session.compute(clips), scale.seconds / 3)
    reference = subject.artifact.path(subject.artifact.variant(REFERENCE[1], REFERENCE[0]))
    roofline_s = least_s(layers(reference, clips), peaks, bytes_per_value)
    return {
        "clips": clips,
        "clips_per_s": round(clips / run_s, 1),
        "network_ms": round(network_s * 1000, 3),
        "roofline_ms": round(roofline_s * 1000, 4),
        "attained": round(roofline_s / network_s, 3),
    }


def _engine(
    one: Sequence[Session], two: Sequence[Session], subject: Subject, scale: Scale
) -> dict[str, float]:
    rates = [
        saturated_clips_per_s(sessions, subject.inputs, scale.max_batch_clips, scale.seconds)
        for sessions in (one, two)
    ]
    load_clips_per_s = LOAD * rates[1]
    times_ms = latencies_ms(two, subject.inputs, scale.max_batch_clips, load_clips_per_s, 2 * scale.seconds)
    return {
        "clips_per_s_one_session": round(rates[0], 1),
        "clips_per_s_two_sessions": round(rates[1], 1),
        "load_clips_per_s": round(load_clips_per_s, 1),
        "p50_ms": round(float(np.percentile(times_ms, 50)), 2),
        "p99_ms": round(float(np.percentile(times_ms, 99)), 2),
        "uploads": len(times_ms),
    }


def _median_s(run: Callable[[], object], budget_s: float) -> float:
    run()
    times_s: list[float] = []
    while not times_s or sum(times_s) < budget_s:
        begun_s = time.perf_counter()
        run()
        times_s.append(time.perf_counter() - begun_s)
    return float(np.median(times_s))


def ways(subjects: Sequence[Subject], providers: Sequence[str]) -> Iterator[tuple[Subject, Way]]:
    """What matters most comes first. Last is CUDA without its graphs: what they bring, if time is left."""
    for provider in providers:
        for each in subjects:
            for variant in variants(each.artifact, provider):
                yield each, Way(provider, variant, cuda_graphs=provider == "cuda")
    for each in subjects if "cuda" in providers else ():
        for variant in variants(each.artifact, "cuda"):
            yield each, Way("cuda", variant, cuda_graphs=False)


def variants(artifact: Artifact, provider: str) -> list[str]:
    """The one that serves there; on TensorRT FP16 beside INT8, since which is faster is not known."""
    names = [artifact.variant("", provider).name]
    if provider == "tensorrt":
        names += [each.name for each in artifact.spec.variants if each.precision == "fp16"]
    return list(dict.fromkeys(names))


def measure_all(
    subjects: Sequence[Subject], providers: Sequence[str], scale: Scale, ends_s: float, cache: Path
) -> Iterator[Row]:
    """A row for each network and way; none is begun after ``ends_s``, on the monotonic clock."""
    for each, way in ways(subjects, providers):
        row: Row = {"network": each.artifact.spec.name, **asdict(way)}
        if time.monotonic() > ends_s:
            yield row | {"failed": "no time was left for it"}
            continue
        try:
            yield row | measure(each, way, scale, cache)
        except Exception as error:  # whatever a vendor's library raises: the other rows are still good
            yield row | {"failed": f"{type(error).__name__}: {error}"[:600]}


@functools.cache
def peaks_of(on_gpu: bool, scale: Scale) -> Peaks:
    """Of the GPU in FP16, or of the CPU in FP32; measured when it is first asked for."""
    providers = chain("cuda" if on_gpu else "cpu", 0, "fp16", {}, GpuOptions(cuda_graphs=False))
    return measured_peaks(
        providers,
        "cuda" if on_gpu else "cpu",
        half=on_gpu,
        side=scale.matrix_side,
        copied_bytes=scale.copied_bytes,
        budget_s=scale.seconds,
    )


def _outcome(row: Row) -> str:
    name = f"{row['network']}, {row['provider']} {row['variant']}"
    if problem := row.get("failed") or row.get("wrong"):
        return f"{name}: {problem}"
    best = max(row["batches"], key=lambda batch: batch["clips_per_s"])
    return f"{name}: {best['clips_per_s']} clips/s at {best['clips']} clips a batch"


def show_rows(rows: Sequence[Row]) -> None:
    good = [row for row in rows if "batches" in row]

    def names(row: Row) -> list[str]:
        return [row["network"], row["provider"], row["variant"], "yes" if row["cuda_graphs"] else ""]

    show(
        "Engine: clips a second, and milliseconds from a decoded clip to its score at "
        f"{LOAD:.0%} of the rate with two sessions",
        ["network", "provider", "variant", "graphs", "one session", "two", "p50 ms", "p99 ms",
         "worst difference", "start s", "again s", "MiB"],
        [
            [*names(row), *[row["engine"][key] for key in (
                "clips_per_s_one_session", "clips_per_s_two_sessions", "p50_ms", "p99_ms")],
             row["worst_difference"], row["start_s"], row["start_again_s"], row["memory_mib"]]
            for row in good
        ],
    )  # fmt: skip
    show(
        "Batches: with copies, and the network alone beside its roofline",
        ["network", "provider", "variant", "graphs", "clips", "clips/s", "network ms", "roofline ms",
         "attained"],
        [[*names(row), *batch.values()] for row in good for batch in row["batches"]],
    )  # fmt: skip


def full_size(root: Path, *, smoke: bool) -> list[Artifact]:
    from benchmarks.full_size import PAPERS, SMALL, write_artifact  # torch, which nothing else here needs

    return [write_artifact(network, root) for network in (SMALL if smoke else PAPERS)]


@click.command()
@click.option(
    "--provider",
    "providers",
    type=click.Choice(["cuda", "tensorrt", "openvino", "cpu"]),
    multiple=True,
    default=("cuda", "tensorrt"),
    show_default=True,
)
@click.option("--smoke", is_flag=True, help="Small sizes: tries the command, measures nothing.")
@click.option("--minutes", default=7.0, show_default=True, help="No row is begun later than this.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for gpu.json.")
def main(providers: tuple[str, ...], smoke: bool, minutes: float, out: Path | None) -> None:
    """Measure the served models and full-size networks on a GPU."""
    ends_s = time.monotonic() + 60 * minutes
    scale = SMOKE if smoke else FULL
    with tempfile.TemporaryDirectory() as folder:
        artifacts = [find_artifact(name) for name in SERVED] + full_size(Path(folder), smoke=smoke)
        subjects = [subject(artifact, scale) for artifact in artifacts]
        rows: list[Row] = []
        for row in measure_all(subjects, providers, scale, ends_s, Path(folder) / "engines"):
            rows.append(row)
            click.echo(_outcome(row), err=True)
            path = _write(rows, scale, out)  # after each row: what is measured is kept, whatever comes
    show_rows(rows)
    click.echo(f"wrote {path}")
    problems = [_outcome(row) for row in rows if "batches" not in row]
    if any("wrong" in row for row in rows) or len(problems) == len(rows):
        raise click.ClickException("; ".join(problems))


def _write(rows: Sequence[Row], scale: Scale, out: Path | None) -> Path:
    on_gpu = {row["provider"] in ON_GPU for row in rows if "batches" in row}
    peaks = {"gpu" if each else "cpu": asdict(peaks_of(each, scale)) for each in on_gpu}
    found = {"smoke": scale is SMOKE, "gpu": gpu(), "peaks": peaks, "rows": rows}
    return write("gpu", found, *([out] if out else []))


if __name__ == "__main__":
    main()
