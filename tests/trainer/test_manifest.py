"""Manifests: what is read, and what is said of those that cannot be."""

from pathlib import Path

import pytest

from trainer.data.manifest import Example, ManifestError, read_manifest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def write(root: Path, text: str) -> Path:
    manifest = root / "manifest.csv"
    manifest.write_text(text)
    return manifest


def test_reads_in_order_and_ignores_other_columns(root: Path) -> None:
    manifest = write(root, "path,size,label,group,fold\nb.mp4,3,no,s2,2\na.mp4,4,yes,s1,1\n")
    assert read_manifest(manifest, root) == (
        Example(root / "b.mp4", "no", "s2", "2"),
        Example(root / "a.mp4", "yes", "s1", "1"),
    )


def test_fold_is_optional(root: Path) -> None:
    (example,) = read_manifest(write(root, "path,label,group\na.mp4,yes,s1\n"), root)
    assert example.fold == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\na.mp4,yes\n", r"manifest\.csv: column\(s\) group missing, found: path, label"),
        ("", r"column\(s\) path, label, group missing"),
        ("path,label,group\n", "manifest.csv: no examples"),
        ("path,label,group\na.mp4,,s1\n", "manifest.csv:2: label is empty"),
        ("path,label,group\na.mp4,yes\n", "manifest.csv:2: group is empty"),
        ("path,label,group\na.mp4,yes,s1\nc.mp4,yes,s1\n", r"manifest\.csv:3: no file .*c\.mp4"),
        ("path,label,group\na.mp4,yes,s1\na.mp4,no,s1\n", r"a\.mp4 is listed twice"),
        ("path,label,group,fold\na.mp4,yes,s1,1\nb.mp4,yes,s1,\n", "1 of 2 examples have no fold"),
    ],
)
def test_what_is_wrong_is_named(root: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read_manifest(write(root, text), root)


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"absent\.csv"):
        read_manifest(tmp_path / "absent.csv", tmp_path)
