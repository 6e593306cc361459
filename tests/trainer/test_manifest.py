"""Manifests: what is read, and what is said of those that cannot be."""

from pathlib import Path

import pytest

from trainer.data.manifest import WHOLE, Example, ManifestError, Stretch, read_manifest


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


def test_a_manifest_of_a_spreadsheet_is_read(root: Path) -> None:
    """Such a program begins UTF-8 with a mark."""
    manifest = root / "manifest.csv"
    manifest.write_text("path,label,group\na.mp4,yes,s1\n", "utf-8-sig")
    assert read_manifest(manifest, root) == (Example(root / "a.mp4", "yes", "s1", ""),)


def test_an_absolute_path_is_refused(root: Path) -> None:
    elsewhere = root / "a.mp4"
    manifest = write(root, f"path,label,group\n{elsewhere},yes,s1\n")
    with pytest.raises(ManifestError, match=rf"manifest\.csv:2: path {elsewhere} is absolute; .* {root}"):
        read_manifest(manifest, root)


def test_fold_is_optional(root: Path) -> None:
    (example,) = read_manifest(write(root, "path,label,group\na.mp4,yes,s1\n"), root)
    assert example.fold == ""


@pytest.mark.parametrize(
    ("head", "cell", "expected"),
    [
        ("label", "fight", {"fight"}),
        ("label", "fight|crowd", {"fight", "crowd"}),
        ("labels", "fight; crowd", {"fight", "crowd"}),
        ("labels", "fight;crowd|blood;", {"fight", "crowd", "blood"}),
    ],
)
def test_labels(head: str, cell: str, expected: set[str], root: Path) -> None:
    (example,) = read_manifest(write(root, f"path,{head},group\na.mp4,{cell},s1\n"), root)
    assert example.labels == expected


def test_one_file_may_be_listed_with_several_stretches(root: Path) -> None:
    text = (
        "path,label,group,start_s,end_s,weight\n"
        "a.mp4,yes,s1,2.5,4,0.5\na.mp4,no,s1,,2.5,\na.mp4,no,s1,4,,\nb.mp4,no,s2,,,2\n"
    )
    examples = read_manifest(write(root, text), root)
    assert [(example.stretch, example.weight) for example in examples] == [
        (Stretch(2.5, 4.0), 0.5),
        (Stretch(0.0, 2.5), 1.0),
        (Stretch(4.0), 1.0),
        (WHOLE, 2.0),
    ]
    assert [example.name(root) for example in examples] == [
        "a.mp4#t=2.5,4",
        "a.mp4#t=0,2.5",
        "a.mp4#t=4",
        "b.mp4",
    ]


@pytest.mark.parametrize(
    ("stretch", "duration_s", "lasts_s"),
    [
        (WHOLE, 3.0, 3.0),
        (Stretch(1.0), 3.0, 2.0),
        (Stretch(1.0, 2.5), 3.0, 1.5),
        (Stretch(1.0, 9.0), 3.0, 2.0),
        (Stretch(4.0, 9.0), 3.0, 0.0),
    ],
)
def test_how_long_a_stretch_is(stretch: Stretch, duration_s: float, lasts_s: float) -> None:
    assert stretch.of(duration_s) == lasts_s


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
        ("path,label,group\na.mp4,|,s1\n", r"manifest\.csv:2: label '\|' names none"),
        ("path,label,labels,group\na.mp4,a,b,s1\n", "a column label and a column labels; keep one"),
        ("path,label,group,start_s\na.mp4,y,s1,-1\n", "manifest.csv:2: start_s -1 must be 0 or more"),
        (
            "path,label,group,start_s,end_s\na.mp4,y,s1,3,3\n",
            "start_s 3 must be 0 or more, and below end_s 3",
        ),
        ("path,label,group,end_s\na.mp4,y,s1,soon\n", "manifest.csv:2: end_s 'soon' is no number"),
        ("path,label,group,end_s\na.mp4,y,s1,nan\n", "below end_s nan"),
        ("path,label,group,weight\na.mp4,y,s1,0\n", "manifest.csv:2: weight 0 must be above 0"),
        ("path,label,group,start_s\na.mp4,y,s1,\na.mp4,n,s1,2\n", r"stretches of .*a\.mp4 overlap at 2 s"),
        (
            "path,label,group,start_s,end_s\na.mp4,y,s1,0,1\na.mp4,n,s2,2,3\n",
            r"a\.mp4 is of two groups, s1 and s2",
        ),
        ("path,label,group,fold\na.mp4,yes,s1,1\nb.mp4,yes,s1,\n", "1 of 2 examples have no fold"),
    ],
)
def test_what_is_wrong_is_named(root: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read_manifest(write(root, text), root)


def test_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"absent\.csv"):
        read_manifest(tmp_path / "absent.csv", tmp_path)
