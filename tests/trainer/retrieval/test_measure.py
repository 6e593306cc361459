"""Copies are what they are called, and a small set goes through to its report."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import av
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from tests.inference.tiny import EMBEDDING, write
from tests.synthesis import Pixels, Video
from trainer.retrieval.cli import retrieval
from trainer.retrieval.copies import COPIES, write_copy


def coloured(red: int, speed: int) -> Video:
    """A bar that moves over one colour."""

    def picture(index: int, width: int, height: int) -> Pixels:
        made = np.full((height, width, 3), (red, 60, 200 - red // 2), np.uint8)
        left = (index * speed) % width
        made[:, left : left + 12] = 255
        return made

    return Video(duration_s=1.2, size=(96, 64), picture=picture)


@pytest.mark.parametrize("copy", COPIES, ids=lambda copy: copy.name)
def test_copies(tmp_path: Path, copy: object) -> None:
    source = coloured(200, 2).write(tmp_path / "source.mp4")
    write_copy(source, tmp_path / "copy.mp4", copy)  # type: ignore[arg-type]
    shapes = []
    for path in (source, tmp_path / "copy.mp4"):
        with av.open(str(path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        shapes.append((len(frames), *frames[0].shape[:2], frames[0][0, -1].tolist()))
    (count, height, width, colour), (copied, copied_height, copied_width, copied_colour) = shapes
    name = copy.name  # type: ignore[attr-defined]
    assert copied == (count - 2 * (count // 10) if name == "trimmed" else count)
    scale = 2 if name == "resized" else 1
    assert (copied_height * scale, copied_width * scale) == (height, width)
    assert np.abs(np.array(colour) - np.array(copied_colour)).max() < 40


def test_a_file_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(Video(duration_s=0.2, tone_hz=440).make()[:200])
    with pytest.raises((ValueError, av.FFmpegError)):
        write_copy(tmp_path / "a.mp4", tmp_path / "b.mp4", COPIES[0])


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Two labels that differ in colour, three sources each; a configuration and a model."""
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group"])
        for label, red in (("red", 220), ("blue", 20)):
            for number in range(3):
                name = f"{label}{number}.mp4"
                coloured(red + 5 * number, 1 + 2 * number).write(tmp_path / name)
                writer.writerow([name, label, f"{label}{number}"])
    config = {
        "name": "tiny",
        "version": "0.0.1",
        "role": "filter",
        "data": {"manifest": "manifest.csv"},
        "labels": [{"name": "red", "positives": ["red"]}],
        "video": {"frames": 4, "frame_rate_hz": 8, "height": 64, "width": 64},
        "architecture": {"name": "r2plus1d_lite", "arguments": {"stages": [0, 1]}},
        "init": "efficientnet-lite0",
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    write(tmp_path / "models", embedding=EMBEDDING)
    write(tmp_path / "blind")
    return tmp_path


def arguments(place: Path, *more: str) -> list[str]:
    files = ["--data", place, "--manifest", "manifest.csv", "--config", place / "config.yaml"]
    return [*map(str, (*files, "--out", place / "out.json")), *more]


@pytest.mark.slow
def test_a_small_set(place: Path) -> None:
    page = place / "page.md"
    page.write_text("# Page\n<!-- table retrieval -->\nold\n<!-- end of table retrieval -->\nend\n")
    more = ("--model", "tiny-filter", "--models-dir", str(place / "models"), "--page", str(page))
    done = CliRunner().invoke(retrieval, arguments(place, *more))
    assert done.exit_code == 0, done.output
    report = json.loads((place / "out.json").read_text())
    assert (report["videos"], report["groups"], report["labels"]) == (6, 6, 2)
    features = report["features"]
    assert {name: each["size"] for name, each in features.items()} == {
        "embedding": 3,
        "motion": 120,
        "appearance": 80,
        "motion and appearance": 200,
    }
    for each in features.values():
        assert set(each["copies"]) == {"re-encoded", "resized", "trimmed"}
        assert each["retrieval"]["queries"] == 6
        assert each["retrieval"]["recall"]["1"]["chance"] == pytest.approx(2 / 5)
    assert features["appearance"]["retrieval"]["recall"]["1"]["value"] == 1.0  # the colours differ
    assert features["appearance"]["copies"]["re-encoded"]["value"] > 0.5
    lines = page.read_text().splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[2:8]] == [
        "vectors",
        "---",
        "embedding",
        "motion",
        "appearance",
        "motion and appearance",
    ]
    assert lines[8].startswith("| chance |  | 0.400 |")
    assert "6 videos, 2 labels, 6 sources of `manifest.csv`; 6 have" in page.read_text()


def test_a_model_without_an_embedding_says_so(place: Path) -> None:
    more = ("--model", "tiny-filter", "--models-dir", str(place / "blind"))
    done = CliRunner().invoke(retrieval, arguments(place, *more))
    assert done.exit_code == 1
    assert "model tiny-filter@1 has no embedding; train it with `embedding: true`" in done.output
