"""One change to a network, told apart from the network without it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.fit.small import write_set
from tests.trainer.zoo.test_run import protocol
from trainer.data.rolls import ClipCache
from trainer.zoo.levers import run
from trainer.zoo.protocol import Levers
from trainer.zoo.table import tables

NETWORK = {"architecture": "r2plus1d", "size": 32, "arguments": {"depth": 10, "width": 4}}
IMAGES = {"architecture": "frames_resnet", "size": 32, "arguments": {"depth": 10, "width": 4}}


def levers(**kinds: dict[str, Any]) -> Levers:
    return Levers.model_validate({"set": "small", "levers": kinds})


@pytest.mark.slow
def test_a_lever_is_measured_beside_its_network(tmp_path: Path) -> None:
    write_set(tmp_path)
    zoo = protocol(video=NETWORK, images=IMAGES)
    chosen = levers(
        taught={"title": "taught", "network": "video", "teachers": ["images"]},
        same={"title": "no change", "network": "video", "change": {"fit": {"epochs": 2}}},
    )
    out = tmp_path / "levers"
    lines: list[str] = []
    for _ in range(2):
        run(chosen, zoo, tmp_path, out, ClipCache(tmp_path / "cache"), tmp_path, lines.append)
    assert lines[:3] == ["video: done", "taught: done", "same: done"]
    assert lines[3:] == ["video: there already", "taught: there already", "same: there already"]

    plain, same, taught = (json.loads((out / f"{n}.json").read_text()) for n in ("video", "same", "taught"))
    assert len(plain["videos"]) == 20
    assert same["videos"] == plain["videos"]
    assert taught["videos"] != plain["videos"]

    for name in ("costs", "attention"):
        committed = Path(__file__).resolve().parents[3] / "benchmarks" / "results" / f"{name}.json"
        (tmp_path / f"{name}.json").write_bytes(committed.read_bytes())
    table = tables(zoo, chosen, tmp_path)["levers"]
    assert "| no change | `video` |" in table
    assert "| +0.000 (+0.000 to +0.000) |" in table


def test_start_weights_of_each_fold(tmp_path: Path) -> None:
    write_set(tmp_path)
    chosen = levers(
        started={"title": "", "network": "video", "change": {"init": "{pretrained}/{fold}.safetensors"}}
    )
    with pytest.raises(ValueError, match=r"absent/1\.safetensors"):
        run(
            chosen,
            protocol(video=NETWORK),
            tmp_path,
            tmp_path / "out",
            ClipCache(tmp_path),
            tmp_path / "absent",
            print,
        )
