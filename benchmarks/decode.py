"""How many videos a core decodes in a second, beside other decoders asked for the same pictures.

    python -m benchmarks.decode [--cases full|quick] [--media FOLDER]

Every case is one step away from the first one. CPU time of this process, one thread each, the least of
several rounds in which all take turns. ``SSIM`` is a picture's likeness to the one that PyAV decodes at full
quality. Rows that snap take the positions that Sluice moved to keyframes, and the peers are asked for just
these; beside that stands what the best peer takes for the positions before they were moved, as none of the
peers moves them by itself. ``codec alone`` is libav's decoder with the packets that the plan names.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np

from benchmarks.decoders.codec import codec_cpu_s, plan_of
from benchmarks.decoders.media import Clip
from benchmarks.decoders.peers import PEERS, Decoder, Pictures, Times, pyav_seeking, pyav_sequential
from benchmarks.report import show, write
from models.spec import VideoInput
from worker.media.decode import decode_file
from worker.media.sampling import Plan, Snapped, Uniform
from worker.media.types import Decoded, DecodeRequest

SIZE = 112
SLUICE = "Sluice"
IN_SEQUENCE_S = 60
PATIENCE_S = 10.0  # no further round of a case after it: what takes seconds is timed well enough by one
SNAP_S = 10.0  # half the distance of 16 positions in 5 minutes, and one GOP of 250 pictures


@dataclass(frozen=True)
class Sampling:
    name: str
    clips: int
    video: VideoInput


FRAMES = Sampling("16 frames", 16, VideoInput(frames=1, frame_rate_hz=25, height=SIZE, width=SIZE))
CLIPS = Sampling("4 x 16 frames", 4, VideoInput(frames=16, frame_rate_hz=10, height=SIZE, width=SIZE))


@dataclass(frozen=True)
class Case:
    clip: Clip = field(default_factory=Clip)
    sampling: Sampling = FRAMES
    snap_s: float = 0.0

    @property
    def plan(self) -> Plan:
        exact = Uniform(self.sampling.clips)
        return Snapped(exact, self.snap_s) if self.snap_s else exact

    @property
    def peers(self) -> Mapping[str, Decoder]:
        """Nobody reads minutes of video from start to end for a few pictures."""
        if self.clip.duration_s <= IN_SEQUENCE_S:
            return PEERS
        return {name: peer for name, peer in PEERS.items() if peer is not pyav_sequential}

    @property
    def name(self) -> str:
        clip = self.clip
        snap = f", snapped within {self.snap_s:g} s" if self.snap_s else ""
        return f"{clip.codec} {clip.height}p {clip.duration_s} s, GOP {clip.gop}, {self.sampling.name}{snap}"


QUICK = (Case(Clip(height=360)), Case(Clip(height=360, duration_s=60), snap_s=SNAP_S))
FULL = (
    Case(),
    Case(sampling=CLIPS),
    Case(Clip(gop=30)),
    Case(Clip(gop=30), CLIPS),
    Case(Clip(height=360)),
    Case(Clip(height=1080)),
    Case(Clip(codec="hevc")),
    Case(Clip(codec="vp9")),
    Case(Clip(codec="av1")),
    Case(Clip(duration_s=300)),
    Case(Clip(duration_s=300), snap_s=SNAP_S),
    Case(Clip(duration_s=300), CLIPS),
    Case(Clip(duration_s=300), CLIPS, snap_s=SNAP_S),
    Case(Clip(duration_s=300, gop=30)),
    Case(Clip(duration_s=300, gop=30), snap_s=1.2),
    Case(Clip(codec="hevc", duration_s=300), snap_s=SNAP_S),
)


@dataclass
class Timing:
    cpu_s: list[float] = field(default_factory=list)
    ssim: float = float("nan")
    failed: str = ""


def sluice(path: Path, case: Case) -> Decoded:
    return decode_file(path, DecodeRequest(case.plan, case.sampling.video))


def measure(case: Case, media: Path, rounds: int) -> dict[str, Any]:
    path = case.clip.path(media)
    decoded = sluice(path, case)
    times_s = np.sort(decoded.pts_s.ravel())
    ours = decoded.clips.reshape(-1, SIZE, SIZE, 3)[np.argsort(decoded.pts_s.ravel(), kind="stable")]
    reference = pyav_seeking(path, times_s, SIZE)
    plan = plan_of(path, times_s)
    timings = {SLUICE: Timing(ssim=likeness(ours, reference))} | {name: Timing() for name in case.peers}
    codec_s: list[float] = []
    begun_s = time.monotonic()
    for turn in range(rounds):
        if turn and time.monotonic() - begun_s > PATIENCE_S:
            break
        _timed(timings[SLUICE], partial(sluice, path, case))
        codec_s.append(codec_cpu_s(path, plan, SIZE))
        for name, peer in case.peers.items():
            if not timings[name].failed:
                _peer(timings[name], peer, path, times_s, reference if turn == 0 else None)
    return _row(case, len(times_s), timings) | {
        "packets_decoded": plan.packets,
        "codec_alone_ms": round(min(codec_s) * 1000, 1),
        "codec_share": round(min(codec_s) / min(timings[SLUICE].cpu_s), 3),
    }


def _peer(timing: Timing, peer: Decoder, path: Path, times_s: Times, reference: Pictures | None) -> None:
    """What a peer cannot do stands in the table in its own words."""
    try:
        pictures = _timed(timing, partial(peer, path, times_s, SIZE))
    except Exception as error:
        timing.failed = f"{type(error).__name__}: {str(error).splitlines()[0][:80] if str(error) else ''}"
        return
    if reference is not None:
        timing.ssim = likeness(pictures, reference)


def _timed(timing: Timing, work: Any) -> Any:
    begun_s = time.process_time()
    result = work()
    timing.cpu_s.append(time.process_time() - begun_s)
    return result


def _row(case: Case, pictures: int, timings: Mapping[str, Timing]) -> dict[str, Any]:
    decoders = {
        name: {"failed": timing.failed}
        if timing.failed
        else {"cpu_ms": round(min(timing.cpu_s) * 1000, 1), "ssim": round(timing.ssim, 4)}
        for name, timing in timings.items()
    }
    ours = min(timings[SLUICE].cpu_s)
    peers = {name: min(t.cpu_s) for name, t in timings.items() if name != SLUICE and not t.failed}
    best = min(peers, key=peers.__getitem__)
    return {
        "case": case.name,
        "exact_case": replace(case, snap_s=0.0).name,
        "pictures": pictures,
        "videos_per_core_second": round(1 / ours, 2),
        "best_peer": best,
        "best_peer_ms": round(peers[best] * 1000, 1),
        "times_best_peer": round(peers[best] / ours, 2),
        "decoders": decoders,
    }


def compare_unsnapped(rows: Sequence[dict[str, Any]]) -> None:
    """Set each snapped row beside the exact row of the same video and sampling."""
    exact = {row["case"]: row for row in rows}
    for row in rows:
        before = exact.get(row["exact_case"])
        if before is not None and before is not row:
            row["times_best_peer_unsnapped"] = round(
                before["best_peer_ms"] / row["decoders"][SLUICE]["cpu_ms"], 1
            )


def likeness(pictures: Pictures, reference: Pictures) -> float:
    """Mean SSIM (Wang et al. 2004) of luma, Gaussian window of 11 pixels, sigma 1.5."""
    return float(np.mean([_ssim(_luma(a), _luma(b)) for a, b in zip(pictures, reference, strict=True)]))


def _luma(picture: Any) -> Any:
    return cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY).astype(np.float64)


def _ssim(one: Any, other: Any) -> float:
    def blurred(values: Any) -> Any:
        return cv2.GaussianBlur(values, (11, 11), 1.5)

    mean_one, mean_other = blurred(one), blurred(other)
    variance_one = blurred(one * one) - mean_one**2
    variance_other = blurred(other * other) - mean_other**2
    shared = blurred(one * other) - mean_one * mean_other
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    above = (2 * mean_one * mean_other + c1) * (2 * shared + c2)
    below = (mean_one**2 + mean_other**2 + c1) * (variance_one + variance_other + c2)
    return float((above / below).mean())


@click.command()
@click.option("--cases", type=click.Choice(["full", "quick"]), default="full", show_default=True)
@click.option(
    "--media", type=click.Path(path_type=Path), default=Path("~/.cache/sluice/bench"), show_default=True
)
@click.option("--match", default="", help="Only cases whose name holds this.")
@click.option("--rounds", default=3, show_default=True, help="At most.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for decode.json; default: benchmarks/results."
)
def main(cases: str, match: str, media: Path, rounds: int, out: Path | None) -> None:
    rows = []
    chosen = FULL if cases == "full" else QUICK
    for case in (case for case in chosen if match in case.name):
        rows.append(measure(case, media.expanduser(), rounds))
        click.echo(f"{rows[-1]['case']}: {rows[-1]['times_best_peer']} x {rows[-1]['best_peer']}")
    compare_unsnapped(rows)
    show(
        "CPU milliseconds a video (SSIM)",
        ["case", SLUICE, *PEERS, "codec alone", "best peer / Sluice"],
        [
            [
                row["case"],
                *(_shown(row["decoders"].get(name)) for name in (SLUICE, *PEERS)),
                row["codec_alone_ms"],
                row["times_best_peer"],
            ]
            for row in rows
        ],
    )
    results = {"rounds": rounds, "size": SIZE, "rows": rows}
    click.echo(f"wrote {write('decode', results, *([out] if out else []))}")


def _shown(decoder: Mapping[str, Any] | None) -> str:
    if decoder is None:
        return ""
    return "-" if "failed" in decoder else f"{decoder['cpu_ms']:.0f} ({decoder['ssim']:.3f})"


if __name__ == "__main__":
    main()
