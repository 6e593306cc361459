"""`sluice embed` and `sluice similar` over real files, with a network that knows how bright a video is."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.inference.tiny import EMBEDDING, embeddings_of, write
from tests.synthesis import Pixels, Video

LEVELS = {"black": 0, "dark": 60, "light": 180, "white": 255}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of one grey each, and the model."""
    folder = tmp_path_factory.mktemp("similar")
    write(folder / "models", embedding=EMBEDDING)
    for name, level in LEVELS.items():

        def picture(index: int, width: int, height: int, level: int = level) -> Pixels:
            return np.full((height, width, 3), level, np.uint8)

        (folder / f"{name}.mp4").write_bytes(Video(duration_s=1.0, picture=picture).make())
    return folder


@pytest.fixture(scope="module")
def embedded(place: Path) -> dict[str, str]:
    """Name -> its line."""
    lines = sluice(place, "embed", *(f"{name}.mp4" for name in LEVELS)).stdout.splitlines()
    return dict(zip(LEVELS, lines, strict=True))


def sluice(
    place: Path, *arguments: str | Path, given: str | None = None, models: str = "models"
) -> subprocess.CompletedProcess[str]:
    own = {
        "SLUICE_INFERENCE__MODELS_DIR": str(place / models),
        "SLUICE_INFERENCE__FILTER": "tiny-filter",
        "SLUICE_INFERENCE__ESCALATION": "",
        "SLUICE_INFERENCE__PROVIDER": "cpu",
        "SLUICE_DECODE__PROCESSES": "1",
        "PYTHONPATH": os.getcwd(),
    }
    return subprocess.run(
        [sys.executable, "-m", "worker.cli", *map(str, arguments)],
        cwd=place,
        env={**os.environ, **own},
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def names(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    return [line.split()[1] for line in done.stdout.splitlines()]


def test_files_become_lines_and_an_index_that_finds_what_is_as_bright(place: Path, tmp_path: Path) -> None:
    lines, index = tmp_path / "embeddings.jsonl", tmp_path / "index"
    done = sluice(place, "embed", "black.mp4", "light.mp4", "white.mp4", "--clips", "--out", lines)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    read = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [line["id"] for line in read] == ["black.mp4", "light.mp4", "white.mp4"]
    assert read[2]["sha256"] == hashlib.sha256((place / "white.mp4").read_bytes()).hexdigest()
    weights = hashlib.sha256((place / "models/tiny-filter/1/m.onnx").read_bytes()).hexdigest()
    assert (read[2]["embedding"]["model"], read[2]["embedding"]["model_sha256"]) == ("tiny-filter@1", weights)
    np.testing.assert_allclose(read[2]["embedding"]["vector"], embeddings_of(255)[0], atol=0.02)
    assert all(len(clip["vector"]) == EMBEDDING.size for clip in read[2]["clips"])

    added = sluice(place, "similar", "add", index, lines)
    assert (added.returncode, added.stdout) == (0, f"3 added; {index} holds 3\n"), added.stderr
    assert names(sluice(place, "similar", "search", index, "white.mp4")) == ["light.mp4", "black.mp4"]
    assert names(sluice(place, "similar", "search", index, "dark.mp4", "-k", "2")) == [
        "black.mp4",
        "light.mp4",
    ]
    again = sluice(place, "similar", "add", index, "dark.mp4", "white.mp4")
    assert again.stdout == f"2 added; {index} holds 4\n", again.stderr
    (best,) = sluice(place, "similar", "search", index, "white.mp4", "-k", "1", "--json").stdout.splitlines()
    assert json.loads(best)["id"] == "light.mp4"
    assert 0.98 < json.loads(best)["cosine"] < 1.0


def test_verdicts_stream_in_and_those_without_an_embedding_are_counted(
    place: Path, tmp_path: Path, embedded: dict[str, str]
) -> None:
    index = tmp_path / "index"
    vector = json.loads(embedded["black"])["embedding"]
    verdicts = [{"upload_id": "u-1", "decision": "allow", "embedding": vector}, {"upload_id": "u-2"}]
    given = "".join(json.dumps(verdict) + "\n" for verdict in verdicts)
    done = sluice(place, "similar", "add", index, "-", given=given)
    assert done.stdout == f"1 added; 1 verdicts without an embedding left out; {index} holds 1\n", done.stderr
    none = sluice(place, "similar", "add", tmp_path / "other", "-", given='{"upload_id": "u-2"}\n')
    assert none.returncode == 1
    assert "nothing was added; 1 verdicts without an embedding" in none.stderr
    assert "inference.embeddings" in none.stderr


def test_what_moderates_says_the_same_as_what_embeds(
    place: Path, monkeypatch: pytest.MonkeyPatch, embedded: dict[str, str]
) -> None:
    monkeypatch.setenv("SLUICE_INFERENCE__EMBEDDINGS", "true")
    verdict = sluice(place, "moderate", "light.mp4")
    assert verdict.returncode == 0, verdict.stderr
    assert json.loads(verdict.stdout)["embedding"] == json.loads(embedded["light"])["embedding"]


def test_a_model_without_an_embedding_says_so(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(place / "blind")
    for arguments in (["embed", "black.mp4"], ["similar", "add", "index", "black.mp4"]):
        done = sluice(place, *arguments, models="blind")
        assert done.returncode == 1
        assert "model tiny-filter@1 has no embedding; name one that was exported" in done.stderr
    monkeypatch.setenv("SLUICE_INFERENCE__EMBEDDINGS", "true")
    done = sluice(place, "moderate", "black.mp4", models="blind")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: model tiny-filter@1 has no embedding; set `inference.embeddings`")
    shutil.rmtree(place / "blind")


def test_another_models_vectors_are_refused_and_nothing_is_added(
    place: Path, tmp_path: Path, embedded: dict[str, str]
) -> None:
    index = tmp_path / "index"
    assert sluice(place, "similar", "add", index, "-", given=embedded["black"]).returncode == 0
    line = json.loads(embedded["white"])
    foreign = {**line, "id": "x", "embedding": {**line["embedding"], "model_sha256": "f" * 64}}
    given = json.dumps(line) + "\n" + json.dumps(foreign) + "\n"
    done = sluice(place, "similar", "add", index, "-", given=given)
    assert done.returncode == 1
    assert "x: the index holds vectors of tiny-filter@1" in done.stderr
    assert names(sluice(place, "similar", "search", index, "white.mp4")) == ["black.mp4"]


def test_what_is_no_video_is_named_and_the_others_are_embedded(place: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    done = sluice(place, "embed", bad, "black.mp4")
    assert done.returncode == 1
    assert [json.loads(line)["id"] for line in done.stdout.splitlines()] == ["black.mp4"]
    assert f"{bad}: undecodable: " in done.stderr
    assert "1 of 2 files gave no embedding" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "given", "message"),
    [
        (["search", ".", "black.mp4"], None, "is no index: `sluice similar add` makes one"),
        (["add", "index", "-"], "nonsense\n", "standard input, line 1: no embedding and no verdict"),
        (["add", "index", "nowhere.jsonl"], None, "nowhere.jsonl is not a file"),
    ],
)
def test_what_cannot_be_done_is_said(
    place: Path, arguments: list[str], given: str | None, message: str
) -> None:
    done = sluice(place, "similar", *arguments, given=given)
    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_without_faiss_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded: dict[str, str]
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['faiss'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-m", "worker.cli", "similar", "add", str(tmp_path / "index"), "-"],
        input=embedded["black"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "needs faiss: pip install 'sluice[index]'" in done.stderr
