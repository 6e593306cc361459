"""A small protocol from end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.fit.small import write_set
from trainer.data.rolls import ClipCache
from trainer.zoo.protocol import Levers, Protocol
from trainer.zoo.run import Incomplete, run
from trainer.zoo.table import tables


def protocol(**networks: dict[str, Any]) -> Protocol:
    return Protocol.model_validate(
        {
            "frames": 4,
            "frame_rate_hz": 8,
            "audio_frames": 50,
            "recipes": {"scratch": {"epochs": 1, "batch": 5, "head_epochs": 0}},
            "sets": {
                "small": {
                    "manifest": "manifest.csv",
                    "title": "Squares",
                    "positive": "moving",
                    "folds": 2,
                    "epochs": 2,
                    "note": "made here",
                }
            },
            "networks": networks,
        }
    )


@pytest.mark.slow
def test_a_pair_is_measured_once_and_what_cannot_be_run_is_told(tmp_path: Path) -> None:
    write_set(tmp_path)
    arguments = {"depth": 10, "width": 4, "exits": [1]}
    chosen = protocol(
        early={"architecture": "early_exit", "size": 32, "arguments": arguments},
        wrong={"architecture": "r2plus1d", "size": 32, "arguments": {"breadth": 1}},
    )
    cache, out = ClipCache(tmp_path / "cache"), tmp_path / "results" / "zoo"
    lines: list[str] = []
    with pytest.raises(Incomplete, match=r"1 could not be run: small wrong: .*breadth"):
        run(chosen, tmp_path, out, cache, chosen.pairs(), lines.append)

    result = json.loads((out / "small" / "early.json").read_text())
    assert (result["videos"], result["sources"]) == (20, 10)
    assert result["architecture"] == "early_exit(depth=10, width=4, exits=[1])"
    assert result["recipe"]["epochs"] == 2
    assert set(result["figures"]["auc"]["by_fold"]) == {"1", "2"}
    assert all(len(losses) == 2 for losses in result["losses"].values())
    assert all(sum(point["rates"]) == pytest.approx(1.0) for point in result["exits"])
    assert result["speed"]["clips_per_s"] > 0

    lines.clear()
    run(chosen, tmp_path, out, cache, chosen.pairs()[:1], lines.append)
    assert lines == ["small early: there already"]

    for name in ("costs", "attention"):
        committed = Path(__file__).resolve().parents[3] / "benchmarks" / "results" / f"{name}.json"
        (out.parent / f"{name}.json").write_bytes(committed.read_bytes())
    made = tables(chosen, Levers(set="small", levers={}), out.parent)
    assert "Squares: 20 clips of 10 sources; made here." in made["small"]
    assert made["exits"].count("\n") == 1 + len(result["exits"])


def test_a_protocol_names_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="network a: no recipe 'long'"):
        protocol(a={"architecture": "r2plus1d", "recipe": "long"})
    with pytest.raises(ValueError, match="network a: no set 'far'"):
        protocol(a={"architecture": "r2plus1d", "sets": ["far"]})
