"""The page shows what the committed results say, failures of peers included."""

from __future__ import annotations

from typing import Any

from benchmarks.table import PAGE, decode_peers, decode_snapped, inference, page

ROW: dict[str, Any] = {
    "case": "h264 720p 300 s, GOP 250, 16 frames, snapped within 10 s",
    "exact_case": "h264 720p 300 s, GOP 250, 16 frames",
    "decoders": {
        "Sluice": {"cpu_ms": 200.0, "ssim": 0.99812},
        "PyAV, seeking": {"cpu_ms": 300.0, "ssim": 1.0},
        "torchcodec, exact": {"failed": "RuntimeError: Could not load libtorchcodec"},
    },
    "videos_per_core_second": 5.0,
    "codec_share": 0.671,
    "best_peer": "PyAV, seeking",
    "times_best_peer": 1.5,
    "times_best_peer_unsnapped": 21.3,
}
WAY = {
    "least_ms_per_clip": 8.5,
    "batch": 4,
    "single_clip_p50_ms": 10.1,
    "single_clip_p99_ms": 12.0,
    "share_of_peak": 0.21,
    "sluice_is_times_as_fast": 1.0,
}


def test_the_page_agrees_with_the_results() -> None:
    assert PAGE.read_text() == page(), "run `python -m benchmarks.table`"


def test_snapped_rows_show_both_comparisons() -> None:
    *_, row = decode_snapped({"rows": [ROW]}).splitlines()
    assert row == (
        "| h264 720p 300 s, GOP 250, 16 frames, snapped within 10 s | 200.0 | 5.0 | 0.998 | 67% "
        "| PyAV, seeking | 1.5 | 21.3 |"
    )


def test_a_peer_that_cannot_run_says_why() -> None:
    *_, row = decode_peers({"rows": [ROW]}).splitlines()
    assert row.endswith("| 300.0 (1.000) | RuntimeError: Could not load libtorchcodec |")


def test_a_way_that_cannot_run_says_why() -> None:
    ways = {"Sluice": WAY, "torch.compile": {"failed": "InductorError: no compiler"}}
    table = inference({"networks": [{"network": "a filter", "gflop_per_clip": 1.5, "ways": ways}]})
    *_, ours, theirs = table.splitlines()
    assert ours == "| Sluice | 8.5 | 4 | 10.1 | 12.0 | 21% | 1.0 |"
    assert theirs.startswith("| torch.compile | InductorError: no compiler |")
