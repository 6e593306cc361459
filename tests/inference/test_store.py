"""Versions of models out of S3's protocol, the web and folders, into a folder that a worker may watch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from models.spec import SPEC_FILE, file_sha256
from tests.media.servers import response, serving
from tests.model_folders import write_filter
from tests.object_store import ObjectStore, object_store
from worker.clock import SystemClock
from worker.errors import ArtifactInvalid, SourceError, SourceForbidden, SourceMissing, SourceUnavailable
from worker.inference.registry import list_artifacts
from worker.inference.store import ModelFolder, ModelUri
from worker.media.source import MediaSource
from worker.settings import FetchSettings

CLOCK = SystemClock()
NAME = "tiny-filter"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """A bucket `models` with versions of a filter below `production`."""
    folder = tmp_path_factory.mktemp("published")
    with object_store("models") as found:
        for version in ("1.9", "1.10", "1.10-rc1"):
            published = write_filter(folder, version)
            (published / "README.md").write_text("# The card")
            found.upload(published, f"production/{NAME}/{version}")
        yield found


@dataclass
class Place:
    """A folder of models, and how it brings some."""

    folder: Path
    settings: FetchSettings
    variants: tuple[str, ...] = ()

    def __call__(self, uri: str) -> bool:
        """Whether anything was fetched."""
        with closing(MediaSource(self.settings, CLOCK, folder=self.folder)) as source:
            return self._models(source).bring(ModelUri.parse(uri)).fetched

    def keep_only(self, *versions: str) -> list[str]:
        with closing(MediaSource(self.settings, CLOCK)) as source:
            return self._models(source).keep_only(NAME, versions)

    def _models(self, source: MediaSource) -> ModelFolder:
        return ModelFolder(self.folder, source, CLOCK, self.variants)

    def found(self) -> list[str]:
        """What a worker sees there; and nothing else is there."""
        artifacts = [each for each in list_artifacts(self.folder) if each.folder.is_relative_to(self.folder)]
        top = {path.name for path in self.folder.iterdir()} if self.folder.exists() else set()
        assert top <= {NAME}, "nothing half done is left"
        return [each.reference for each in artifacts]


@pytest.fixture
def bring(tmp_path: Path, store: ObjectStore) -> Place:
    return Place(tmp_path / "here", store.settings())


VERSION = f"s3://models/production/{NAME}/1.9"


def test_a_version_comes_whole(bring: Place) -> None:
    assert bring(VERSION)
    assert bring.found() == [f"{NAME}@1.9"]
    assert {path.name for path in (bring.folder / NAME / "1.9").iterdir()} == {
        SPEC_FILE,
        "m.onnx",
        "README.md",
    }


def test_what_is_here_is_not_fetched_again(bring: Place) -> None:
    bring(VERSION)
    away = bring.settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:9"})
    assert not Place(bring.folder, away)(VERSION)


def test_what_is_here_and_broken_is_replaced(bring: Place) -> None:
    bring(VERSION)
    weights = bring.folder / NAME / "1.9" / "m.onnx"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + b"x")
    assert bring(VERSION)
    assert weights.read_bytes() == good
    assert bring.found() == [f"{NAME}@1.9"]


def test_a_digest_pins_a_version(bring: Place) -> None:
    with pytest.raises(ArtifactInvalid, match=r"1.9/spec.json: expected sha256 0000.* a version of its own"):
        bring(f"{VERSION}#sha256={'0' * 64}")
    assert bring.found() == []
    bring(VERSION)
    digest = file_sha256(bring.folder / NAME / "1.9" / SPEC_FILE)
    assert not bring(f"{VERSION}#sha256={digest}")
    with pytest.raises(ArtifactInvalid, match="expected sha256 0000"):
        bring(f"{VERSION}#sha256={'0' * 64}")
    assert bring.found() == [f"{NAME}@1.9"], "the one before stays"


def test_the_newest_is_found_by_number(bring: Place) -> None:
    assert bring(f"s3://models/production/{NAME}#newest")
    assert bring.found() == [f"{NAME}@1.10"]


def test_other_versions_are_taken_away(bring: Place) -> None:
    for version in ("1.9", "1.10"):
        bring(f"s3://models/production/{NAME}/{version}")
    assert bring.keep_only("1.9") == ["1.10"]
    assert bring.found() == [f"{NAME}@1.9"]


def test_only_the_variants_that_are_asked_for(bring: Place) -> None:
    bring.variants = ("fp32",)
    assert bring(VERSION)
    bring.variants = ("int8",)
    with pytest.raises(ArtifactInvalid, match=r"has no variant 'int8'; accepted: fp32"):
        bring(VERSION)
    assert bring.found() == [f"{NAME}@1.9"]


@pytest.mark.parametrize(
    ("uri", "error", "message"),
    [
        (f"s3://models/production/{NAME}/2", SourceMissing, "NoSuchKey"),
        ("s3://models/production/other#newest", SourceMissing, "no version of a model in s3://models"),
        (f"s3://elsewhere/production/{NAME}/1", SourceMissing, "NoSuchBucket"),
        (f"s3://elsewhere/{NAME}#newest", SourceMissing, "NoSuchBucket"),
        (f"https://127.0.0.1:1/{NAME}/1", SourceForbidden, "allow_private_addresses permits"),
        (f"file:///etc/{NAME}/1", SourceForbidden, "not inside a folder of fetch.file_roots"),
        (f"s3://models/production/{NAME}", SourceMissing, "a URI names the folder of a version"),
        (f"s3://models/{NAME}", ArtifactInvalid, r"expected s3://, .* or s3://.../NAME#newest"),
        (f"https://host/{NAME}#newest", ArtifactInvalid, "expected s3://"),
        (f"{VERSION}#sha256=abc", ArtifactInvalid, "expected s3://"),
        (f"s3://models/production/{NAME}/../1", ArtifactInvalid, "expected s3://"),
    ],
)
def test_what_leads_nowhere(uri: str, error: type[Exception], message: str, bring: Place) -> None:
    with pytest.raises(error, match=message) as raised:
        bring(uri)
    assert type(raised.value) is error
    assert bring.found() == []


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "m.onnx").write_bytes(b"x"), r"m.onnx: expected \d+ bytes, found 1"),
        (lambda folder: (folder / SPEC_FILE).write_text("{}"), "spec.json: name: Field required"),
        (lambda folder: (folder / "m.onnx").unlink(), "m.onnx: .*NoSuchKey"),
    ],
)
def test_a_broken_version_leaves_nothing(
    break_it: Any, message: str, bring: Place, store: ObjectStore, tmp_path: Path
) -> None:
    published = write_filter(tmp_path / "published", "3")
    break_it(published)
    uri = store.upload(published, f"broken/{NAME}/3")
    with pytest.raises((ArtifactInvalid, SourceError), match=message) as raised:
        bring(uri)
    assert str(raised.value).startswith(uri)
    assert bring.found() == []
    store.delete(f"broken/{NAME}/3/")


def test_a_version_in_the_wrong_place(bring: Place, store: ObjectStore, tmp_path: Path) -> None:
    uri = store.upload(write_filter(tmp_path / "published", "3"), f"wrong/{NAME}/4")
    with pytest.raises(ArtifactInvalid, match=f"expected in a folder {NAME}/3, found {NAME}/4"):
        bring(uri)


def test_from_a_folder(bring: Place, tmp_path: Path) -> None:
    published = write_filter(tmp_path / "published", "4")
    bring.settings = FetchSettings(file_roots=(tmp_path,))
    assert bring(f"file://{published}")
    assert bring.found() == [f"{NAME}@4"]


def test_from_a_web_server(bring: Place, tmp_path: Path) -> None:
    """Which has no model card: that is no reason to do without the model."""
    published = write_filter(tmp_path / "published", "5")

    def answer(head: str, connection: Any) -> None:
        file = published / head.split()[1].rpartition("/")[2]
        sent = response(file.read_bytes()) if file.exists() else response(b"", "404 Not Found")
        sent(head, connection)

    bring.settings = FetchSettings(allow_http=True, allow_private_addresses=True)
    with serving(answer) as port:
        assert bring(f"http://127.0.0.1:{port}/{NAME}/5")
    assert bring.found() == [f"{NAME}@5"]


def test_a_folder_that_cannot_be_written(bring: Place) -> None:
    bring.folder.write_text("a file")
    with pytest.raises((ArtifactInvalid, SourceUnavailable), match=f"cannot write to {bring.folder}"):
        bring(VERSION)
