"""An index of embeddings on disk, searched by cosine. The only module that imports faiss.

    <index>/index.json               the model, and which two files are current
    <index>/vectors-<digest>.faiss   IndexFlatIP: exact; of vectors of length 1 the product is the cosine
    <index>/entries-<digest>.jsonl   row for row, what each vector is of

Files are named after what they hold and only ``index.json`` is ever replaced, so a reader sees the index
before or after a change, and an interrupted writer leaves it as it was.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from worker.messages import Embedding, Sha256

INDEX_FILE = "index.json"
UNIT_TOLERANCE = 1e-2  # of a vector's length: rounding on the wire is far below

Vectors = npt.NDArray[np.float32]


class IndexUnusable(Exception):
    """The message names the index, what is wrong and what to do."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Clip(_Frozen):
    start_s: float
    vector: tuple[float, ...]


class Embedded(_Frozen):
    """A line of `sluice embed`; a verdict's line is read as one too, under its upload id."""

    id: str = Field(min_length=1, max_length=4096, validation_alias=AliasChoices("id", "upload_id"))
    sha256: Sha256 | None = None
    embedding: Embedding | None = None
    clips: tuple[Clip, ...] = ()


class Entry(_Frozen):
    """What a row of the index is of."""

    id: str
    sha256: Sha256 | None = None


class Match(_Frozen):
    id: str
    sha256: Sha256 | None
    cosine: float


class _Manifest(_Frozen):
    format: Literal[1] = 1
    model: str
    model_sha256: Sha256
    size: int = Field(ge=1)
    count: int = Field(ge=0)
    vectors: str = Field(pattern=r"^vectors-[0-9a-f]{64}\.faiss$")
    entries: str = Field(pattern=r"^entries-[0-9a-f]{64}\.jsonl$")


class Index:
    """The vectors of one model's weights; each id once, the latest vector stands. Not thread-safe."""

    def __init__(self, model: str, model_sha256: str, size: int) -> None:
        self.model = model
        self.model_sha256 = model_sha256
        self.size = size
        self._vectors: dict[str, Vectors] = {}
        self._entries: dict[str, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, id_: str) -> bool:
        return id_ in self._entries

    def add(self, entry: Entry, embedding: Embedding) -> None:
        """Raises IndexUnusable for a vector of other weights, of another size or not of length 1."""
        self._vectors[entry.id] = self.checked(embedding)
        self._entries[entry.id] = entry

    def vector(self, id_: str) -> Vectors:
        """(E,). Raises KeyError."""
        return self._vectors[id_]

    def checked(self, embedding: Embedding) -> Vectors:
        """(E,). Raises IndexUnusable for what this index cannot compare."""
        if embedding.model_sha256 != self.model_sha256:
            raise IndexUnusable(
                f"the index holds vectors of {self.model} (weights {self.model_sha256[:12]}), not of "
                f"{embedding.model} ({embedding.model_sha256[:12]}): vectors of different weights cannot be "
                "compared; make another index, from these files again"
            )
        vector = np.array(embedding.vector, np.float32)
        length = float(np.linalg.norm(vector))
        if vector.shape != (self.size,) or not abs(length - 1.0) <= UNIT_TOLERANCE:
            raise IndexUnusable(
                f"a vector of {len(vector)} numbers and length {length:.3f}; the index of {self.model} takes "
                f"{self.size} numbers of length 1"
            )
        return vector

    def search(self, vector: Vectors, count: int, without: str | None = None) -> list[Match]:
        """The nearest, best first; ``without``: an id that is left out."""
        cosines, rows = self._flat().search(vector[None], count + (without is not None))
        entries = list(self._entries.values())
        found = [
            Match(id=entries[row].id, sha256=entries[row].sha256, cosine=float(cosine))
            for cosine, row in zip(cosines[0], rows[0], strict=True)
            if row >= 0 and entries[row].id != without
        ]
        return found[:count]

    def save(self, folder: Path) -> None:
        """Whole or not at all. Call it inside of ``locked``."""
        vectors = _faiss().serialize_index(self._flat()).tobytes()
        entries = "".join(entry.model_dump_json() + "\n" for entry in self._entries.values()).encode()
        manifest = _Manifest(
            model=self.model,
            model_sha256=self.model_sha256,
            size=self.size,
            count=len(self),
            vectors=f"vectors-{hashlib.sha256(vectors).hexdigest()}.faiss",
            entries=f"entries-{hashlib.sha256(entries).hexdigest()}.jsonl",
        )
        folder.mkdir(parents=True, exist_ok=True)
        # 1. the files that nobody names yet, 2. the one that names them, 3. those that it named before
        write_atomically(folder / manifest.vectors, vectors)
        write_atomically(folder / manifest.entries, entries)
        write_atomically(folder / INDEX_FILE, manifest.model_dump_json(indent=2).encode() + b"\n")
        for old in (*folder.glob("vectors-*.faiss"), *folder.glob("entries-*.jsonl")):
            if old.name not in (manifest.vectors, manifest.entries):
                old.unlink()

    @classmethod
    def read(cls, folder: Path) -> Index:
        """Raises FileNotFoundError where there is no index, IndexUnusable for one that is damaged."""
        while True:
            text = (folder / INDEX_FILE).read_bytes()
            try:
                return cls._of(folder, _Manifest.model_validate_json(text))
            except FileNotFoundError as error:
                if (folder / INDEX_FILE).read_bytes() == text:
                    raise IndexUnusable(f"{folder}: {error.filename} is missing; build it again") from error
            except ValidationError as error:
                raise IndexUnusable(f"{folder / INDEX_FILE}: {error.errors()[0]['msg']}") from error

    @classmethod
    def _of(cls, folder: Path, manifest: _Manifest) -> Index:
        index = cls(manifest.model, manifest.model_sha256, manifest.size)
        contents = [(folder / name).read_bytes() for name in (manifest.vectors, manifest.entries)]
        for name, content in zip((manifest.vectors, manifest.entries), contents, strict=True):
            if hashlib.sha256(content).hexdigest() not in name:
                raise IndexUnusable(f"{folder / name}: damaged, its digest is another; build the index again")
        flat = _faiss().deserialize_index(np.frombuffer(contents[0], np.uint8))
        rows = flat.reconstruct_n(0, flat.ntotal)
        entries = [Entry.model_validate_json(line) for line in contents[1].splitlines()]
        for entry, vector in zip(entries, rows, strict=True):
            index._entries[entry.id] = entry
            index._vectors[entry.id] = vector
        return index

    def _flat(self) -> Any:
        flat = _faiss().IndexFlatIP(self.size)
        if self._vectors:
            flat.add(np.stack(list(self._vectors.values())))
        return flat


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One writer at a time, over processes; waits for the one before."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_atomically(path: Path, content: bytes) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def parsed(lines: Sequence[str]) -> list[Embedded]:
    """Blank lines are left out. Raises ValueError saying what is wrong with a line."""
    try:
        return [Embedded.model_validate_json(line) for line in lines if line.strip()]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "line"
        raise ValueError(f"no embedding and no verdict: {place}: {first['msg']}") from error


def _faiss() -> Any:
    """Loaded when it is needed: it is an extra."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of its generated wrappers
            import faiss
    except ModuleNotFoundError as error:
        raise IndexUnusable("`sluice similar` needs faiss: pip install 'sluice[index]'") from error
    return faiss
