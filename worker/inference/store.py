"""Brings versions of models from an object store, a web server or another folder into a folder of models.

A version arrives whole or not at all: it is fetched into a hidden folder beside the models, its spec is
read, its weights are compared with what the spec states, and then one rename puts it into its place. A
worker that watches the folder never sees half of it.
"""

from __future__ import annotations

import math
import re
import shutil
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from models.spec import SPEC_FILE, Variant, file_sha256
from worker.clock import Clock, Deadline
from worker.errors import ArtifactInvalid, SourceError, SourceForbidden, SourceMissing
from worker.inference.registry import NAME, Artifact, read_artifact, verify, version_order
from worker.masking import mask
from worker.media.source import MediaSource

# The model card, and the scores that drift is told from. Nothing that serves depends on them.
_BESIDE = ("README.md", "held_out.json")

_VERSION_URI = re.compile(
    rf"(?P<folder>\w+://[^#]*/(?P<name>{NAME})/(?P<version>{NAME}))/?(#sha256=(?P<sha256>[0-9a-f]{{64}}))?"
)
_NEWEST_URI = re.compile(rf"(?P<folder>s3://[^#]+/(?P<name>{NAME}))/?#newest")


@dataclass(frozen=True, slots=True)
class ModelUri:
    """Where a version of a model lies: the folder of its ``spec.json``."""

    folder: str  # without a slash at its end
    name: str
    version: str  # empty: the newest one in the folder
    spec_sha256: str = ""  # of the spec.json that is meant, and so of the weights; empty: any

    @classmethod
    def parse(cls, text: str) -> Self:
        """``.../NAME/VERSION``, the same with ``#sha256=DIGEST``, or ``s3://.../NAME#newest``.

        Raises ArtifactInvalid.
        """
        if found := _VERSION_URI.fullmatch(text):
            return cls(found["folder"], found["name"], found["version"], found["sha256"] or "")
        if found := _NEWEST_URI.fullmatch(text):
            return cls(found["folder"], found["name"], version="")
        raise ArtifactInvalid(
            f"{mask(text)}: expected s3://, https:// or file:// and .../NAME/VERSION, where #sha256= may "
            "follow with the digest of its spec.json; or s3://.../NAME#newest"
        )

    def of(self, version: str) -> ModelUri:
        return ModelUri(f"{self.folder}/{version}", self.name, version)


@dataclass(frozen=True, slots=True)
class Brought:
    artifact: Artifact
    uri: ModelUri  # with its version
    fetched: bool  # False: it was there before, and is what it should be

    @property
    def pinned(self) -> str:
        """The URI that means this very version."""
        return f"{self.uri.folder}#sha256={file_sha256(self.artifact.folder / SPEC_FILE)}"


class ModelFolder:
    """A folder of ``<name>/<version>/``, and the source that its versions come from."""

    def __init__(self, folder: Path, source: MediaSource, clock: Clock, variants: Sequence[str] = ()) -> None:
        """``source`` should keep its temporary files in ``folder``. ``variants``: these only; none: all."""
        self._folder = folder
        self._source = source
        self._clock = clock
        self._variants = variants

    def bring(self, uri: ModelUri) -> Brought:
        """Have this version here, verified; one that is here already is not asked for again.

        Raises SourceError for what cannot be fetched, ArtifactInvalid for what is not as it should be.
        """
        if not uri.version:
            uri = self._newest(uri)
        target = self._folder / uri.name / uri.version
        with suppress(ArtifactInvalid):
            return Brought(self._checked(target, uri), uri, fetched=False)
        with self._writing():
            self._fetch(uri, target)
        return Brought(read_artifact(target), uri, fetched=True)

    def keep_only(self, name: str, versions: Collection[str]) -> list[str]:
        """Take away the other versions of a model; returns which they were. Raises ArtifactInvalid."""
        with self._writing():
            others = [path for path in (self._folder / name).iterdir() if path.name not in versions]
            for path in others:
                self._take_away(path)
        return sorted((path.name for path in others), key=version_order)

    def _newest(self, uri: ModelUri) -> ModelUri:
        found = [re.fullmatch(rf"({NAME})/{SPEC_FILE}", key) for key in self._source.keys_below(uri.folder)]
        versions = sorted((match[1] for match in found if match), key=version_order)
        if not versions:
            raise SourceMissing(
                f"no version of a model in {uri.folder}: expected VERSION/{SPEC_FILE} below it"
            )
        return uri.of(versions[-1])

    def _fetch(self, uri: ModelUri, target: Path) -> None:
        with self._beside() as fresh:
            try:
                self._get(uri, SPEC_FILE, fresh)
                for variant in self._wanted(_with_right_spec(fresh, uri)):
                    self._get(uri, variant.file, fresh)
                self._checked(fresh, uri)
            except ArtifactInvalid as error:
                raise ArtifactInvalid(str(error).replace(str(fresh), uri.folder)) from error
            for name in _BESIDE:
                with suppress(SourceMissing, SourceForbidden):  # stores answer so where nothing is
                    self._get(uri, name, fresh)
            target.parent.mkdir(exist_ok=True)
            if target.exists():  # what is there is broken, or another one than is meant
                self._take_away(target)
            fresh.rename(target)

    def _checked(self, folder: Path, uri: ModelUri) -> Artifact:
        """What lies in ``folder``. Raises ArtifactInvalid where it is not, or not wholly, what is meant."""
        artifact = _with_right_spec(folder, uri)
        for variant in self._wanted(artifact):
            verify(artifact, variant)
        return artifact

    def _wanted(self, artifact: Artifact) -> Sequence[Variant]:
        if not self._variants:
            return artifact.spec.variants
        return [artifact.variant(name, "") for name in self._variants]

    def _get(self, uri: ModelUri, file: str, into: Path) -> None:
        where = f"{uri.folder}/{file}"
        try:
            media = self._source.fetch(where, None, None, Deadline(self._clock, math.inf))
        except SourceError as error:
            advice = "; a URI names the folder of a version" if isinstance(error, SourceMissing) else ""
            raise type(error)(f"{mask(where)}: {error}{advice}") from error
        with media.file as fetched, (into / file).open("xb") as written:
            shutil.copyfileobj(fetched, written)

    def _take_away(self, path: Path) -> None:
        """At once, for everybody who looks."""
        with self._beside() as gone:
            path.rename(gone)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ArtifactInvalid(f"cannot write to {self._folder}: {error.strerror}") from error

    @contextmanager
    def _beside(self) -> Iterator[Path]:
        """A folder that goes in the end, unless it was renamed. Files in it lie too high for versions."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(prefix=".pull-", dir=self._folder))
        path.chmod(0o755)  # workers may run as another user
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)


def _with_right_spec(folder: Path, uri: ModelUri) -> Artifact:
    artifact = read_artifact(folder)
    spec, path = artifact.spec, folder / SPEC_FILE
    if (spec.name, spec.version) != (uri.name, uri.version):
        raise ArtifactInvalid(
            f"{path}: expected in a folder {spec.name}/{spec.version}, found {uri.name}/{uri.version}; "
            "put it where it belongs"
        )
    if uri.spec_sha256 and (found := file_sha256(path)) != uri.spec_sha256:
        raise ArtifactInvalid(
            f"{path}: expected sha256 {uri.spec_sha256}, found {found}; name the digest of the version that "
            "you mean, and publish a changed model under a version of its own"
        )
    return artifact
