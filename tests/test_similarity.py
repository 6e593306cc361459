"""The index on disk: what is nearest, what is refused, and what an interruption leaves."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.samples import VERSIONS
from worker.messages import Embedding
from worker.similarity import Entry, Index, IndexUnusable, locked, parsed, write_atomically

MODEL = ("tiny@1", "a" * 64)


def embedding(*numbers: float, model_sha256: str = MODEL[1]) -> Embedding:
    vector = np.array(numbers) / np.linalg.norm(numbers)
    return Embedding(model="tiny@1", model_sha256=model_sha256, vector=tuple(vector))


def index(**vectors: tuple[float, ...]) -> Index:
    made = Index(*MODEL, size=2)
    for name, vector in vectors.items():
        made.add(Entry(id=name), embedding(*vector))
    return made


def names(found: Index, *query: float, count: int = 10) -> list[str]:
    return [match.id for match in found.search(np.array(query, np.float32), count)]


def test_the_nearest_come_first_with_their_cosine() -> None:
    made = index(east=(1, 0), north=(0, 1), north_east=(1, 1), west=(-1, 0))
    assert names(made, 1, 0) == ["east", "north_east", "north", "west"]
    assert names(made, 1, 0, count=2) == ["east", "north_east"]
    found = made.search(made.vector("east"), 2, without="east")
    assert [match.id for match in found] == ["north_east", "north"]
    assert [match.cosine for match in found] == pytest.approx([0.5**0.5, 0.0], abs=1e-6)


def test_an_index_with_fewer_than_asked_for_gives_what_it_has() -> None:
    assert names(index(), 1, 0) == []
    assert names(index(east=(1, 0)), 1, 0) == ["east"]


ROW = st.lists(st.floats(-1, 1, width=16), min_size=4, max_size=4).filter(any)


@given(st.lists(ROW, min_size=1, max_size=20))
def test_it_agrees_with_the_arithmetic(rows: list[list[float]]) -> None:
    made = Index(*MODEL, size=4)
    vectors = np.array(rows) / np.linalg.norm(rows, axis=1, keepdims=True)
    for number, vector in enumerate(vectors):
        made.add(Entry(id=str(number)), embedding(*vector))
    found = made.search(vectors[0].astype(np.float32), len(rows))
    assert sorted(match.id for match in found) == sorted(map(str, range(len(rows))))
    for match in found:
        assert match.cosine == pytest.approx(float(vectors[0] @ vectors[int(match.id)]), abs=1e-5)


def test_the_latest_vector_of_an_id_stands() -> None:
    made = index(a=(1, 0), b=(0, 1))
    made.add(Entry(id="a", sha256="b" * 64), embedding(-1, 0))
    assert len(made) == 2
    assert names(made, 1, 0) == ["b", "a"]


def test_it_comes_back_from_disk(tmp_path: Path) -> None:
    made = index(a=(1, 0), b=(0, 1))
    made.add(Entry(id="c/ü d.mp4", sha256="c" * 64), embedding(1, 1))
    made.save(tmp_path)
    read = Index.read(tmp_path)
    assert (read.model, read.model_sha256, read.size, len(read)) == (*MODEL, 2, 3)
    assert read.search(np.array([1, 0], np.float32), 3) == made.search(np.array([1, 0], np.float32), 3)
    read.add(Entry(id="d"), embedding(0, -1))
    read.save(tmp_path)
    assert len(Index.read(tmp_path)) == 4
    assert len(list(tmp_path.iterdir())) == 3  # nothing is left of the first


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (embedding(1, 0, model_sha256="f" * 64), r"weights aaaaaaaaaaaa.*not of tiny@1 \(ffffffffffff\)"),
        (embedding(1, 0, 0), "a vector of 3 numbers .* takes 2 numbers"),
        (Embedding(model="tiny@1", model_sha256=MODEL[1], vector=(0.3, 0.3)), r"length 0\.424"),
        (Embedding(model="tiny@1", model_sha256=MODEL[1], vector=(float("nan"), 1.0)), "length nan"),
    ],
    ids=["other weights", "another size", "not of length 1", "not a number"],
)
def test_what_cannot_be_compared_is_refused(given: Embedding, message: str) -> None:
    made = index(a=(1, 0))
    with pytest.raises(IndexUnusable, match=message):
        made.add(Entry(id="b"), given)
    assert len(made) == 1


def test_damage_is_noticed(tmp_path: Path) -> None:
    index(a=(1, 0)).save(tmp_path)
    (entries,) = tmp_path.glob("entries-*")
    entries.write_text('{"id": "other"}\n')
    with pytest.raises(IndexUnusable, match="damaged, its digest is another"):
        Index.read(tmp_path)
    entries.unlink()
    with pytest.raises(IndexUnusable, match=r"entries-.* is missing"):
        Index.read(tmp_path)
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(IndexUnusable, match=r"index.json"):
        Index.read(tmp_path)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_an_interrupted_change_leaves_the_index_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    index(a=(1, 0)).save(tmp_path)
    writes = 0

    def interrupted(source: Path, target: Path) -> Path:
        nonlocal writes
        writes += 1
        if writes == step:
            raise OSError("no space left on device")
        os.replace(source, target)
        return target

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(OSError, match="no space"):
        index(a=(1, 0), b=(0, 1)).save(tmp_path)
    monkeypatch.undo()
    assert len(Index.read(tmp_path)) == 1
    assert not list(tmp_path.glob(".*.tmp"))
    index(a=(1, 0), b=(0, 1)).save(tmp_path)
    assert len(Index.read(tmp_path)) == 2
    assert len(list(tmp_path.iterdir())) == 3


def _add(folder: Path, number: int) -> None:
    with locked(folder):
        try:
            made = Index.read(folder)
        except FileNotFoundError:
            made = index()
        made.add(Entry(id=str(number)), embedding(1, number))
        made.save(folder)


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_add, args=(tmp_path, number)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(20.0)
    assert len(Index.read(tmp_path)) == 3


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", b"old")
    write_atomically(tmp_path / "a", b"new")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("a", b"new")]


def test_verdicts_are_read_under_their_upload_id() -> None:
    known = embedding(1, 0).model_dump_json()
    lines = [
        f'{{"upload_id": "u-1", "embedding": {known}, "versions": {VERSIONS.model_dump_json()}}}',
        "\n",  # a tombstone, as `sluice watch --json` shows it
        f'{{"id": "a.mp4", "sha256": "{"d" * 64}", "embedding": {known}}}',
        '{"upload_id": "u-2", "embedding": null}',
    ]
    found = parsed(lines)
    assert [(each.id, each.embedding is None) for each in found] == [
        ("u-1", False),
        ("a.mp4", False),
        ("u-2", True),
    ]


@pytest.mark.parametrize("line", ["not JSON", "[]", '{"embedding": null}', '{"id": ""}'])
def test_other_lines_are_refused(line: str) -> None:
    with pytest.raises(ValueError, match="no embedding and no verdict"):
        parsed([line])
