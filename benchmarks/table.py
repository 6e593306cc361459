"""Writes the tables of docs/performance.md out of benchmarks/results.

    python -m benchmarks.table

A table stands between ``<!-- table NAME -->`` and ``<!-- end of table NAME -->``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import RESULTS
from trainer.pages import figures, filled

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
SLUICE = "Sluice"

Results = Mapping[str, Any]
Row = Sequence[object]


def decode_exact(results: Results) -> str:
    return _decode([row for row in results["rows"] if row["case"] == row["exact_case"]], {})


def decode_snapped(results: Results) -> str:
    rows = [row for row in results["rows"] if row["case"] != row["exact_case"]]
    return _decode(rows, {"best peer, positions not moved": "times_best_peer_unsnapped"})


def _decode(rows: Sequence[Results], further: Mapping[str, str]) -> str:
    columns = ["video, pictures", "ms", "videos per core-second", "SSIM", "codec alone", "best peer"]
    return figures(
        [*columns, "times as fast as it", *(f"times as fast as the {name}" for name in further)],
        (
            [
                row["case"],
                row["decoders"][SLUICE]["cpu_ms"],
                row["videos_per_core_second"],
                f"{row['decoders'][SLUICE]['ssim']:.3f}",
                f"{row['codec_share']:.0%}",
                row["best_peer"],
                row["times_best_peer"],
                *(row.get(key, "") for key in further.values()),
            ]
            for row in rows
        ),
    )


def decode_peers(results: Results) -> str:
    named = dict.fromkeys(name for row in results["rows"] for name in row["decoders"])
    names = [name for name in named if name != SLUICE]
    return figures(
        ["video, pictures", *names],
        ([row["case"], *(_peer(row["decoders"].get(name)) for name in names)] for row in results["rows"]),
    )


def _peer(decoder: Results | None) -> str:
    if decoder is None:
        return ""
    return str(decoder["failed"]) if "failed" in decoder else f"{decoder['cpu_ms']} ({decoder['ssim']:.3f})"


def inference(results: Results) -> str:
    columns = ["way", "ms a clip", "batch", "one clip p50 ms", "p99 ms", "share of peak"]
    tables = [
        f"{network['network']}, {network['gflop_per_clip']} GFLOP a clip:\n\n"
        + figures(
            [*columns, "Sluice is times as fast"],
            (_way(name, row) for name, row in network["ways"].items()),
        )
        for network in results["networks"]
    ]
    return "\n\n".join(tables)


def _way(name: str, row: Results) -> Row:
    if "failed" in row:
        return [name, row["failed"], *[""] * 5]
    return [
        name,
        row["least_ms_per_clip"],
        row["batch"],
        row["single_clip_p50_ms"],
        row["single_clip_p99_ms"],
        f"{row['share_of_peak']:.0%}",
        row["sluice_is_times_as_fast"],
    ]


def layouts(results: Results) -> str:
    columns = ["processes", "threads", "batch", "clips_per_s", "batch_p50_ms", "batch_p99_ms"]
    rows = results["layouts"]
    return figures(
        ["processes", "threads in each", "batch", "clips/s", "batch p50 ms", "p99 ms"],
        ([row[column] for column in columns] for row in rows),
    )


def peaks(results: Results) -> str:
    machine, found = results["machine"], results["peaks"]
    return figures(
        ["machine", "cores", "INT8, 10⁹ op/s", "FP32, GFLOP/s", "copying, GB/s"],
        [
            [
                machine["cpu"],
                machine["cores"],
                *(found[k] for k in ("int8_gops", "fp32_gflops", "copy_gb_per_s")),
            ]
        ],
    )


# Name of the table -> file of results, how it is written.
TABLES: Mapping[str, tuple[str, Callable[[Results], str]]] = {
    "peaks": ("inference", peaks),
    "decode-exact": ("decode", decode_exact),
    "decode-snapped": ("decode", decode_snapped),
    "decode-peers": ("decode", decode_peers),
    "inference": ("inference", inference),
    "inference-layouts": ("inference", layouts),
}


def page() -> str:
    """docs/performance.md as the committed results have it."""
    found = {file: json.loads((RESULTS / f"{file}.json").read_text()) for file, _ in TABLES.values()}
    return filled(PAGE.read_text(), {name: write(found[file]) for name, (file, write) in TABLES.items()})


if __name__ == "__main__":
    PAGE.write_text(page())
