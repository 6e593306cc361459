"""``sluice dataset``, on a folder with videos and sounds."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.synthesis import Video, corners, make_sound, moving_square
from trainer.data.cli import dataset
from trainer.data.manifest import read_manifest


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(dataset, [str(argument) for argument in arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes, four sources of two videos each."""
    for index in range(8):
        place = tmp_path / "set" / ("moves", "stands")[index % 2] / f"cam{index // 2}_{index}.mp4"
        place.parent.mkdir(parents=True, exist_ok=True)
        picture = moving_square if index % 2 == 0 else corners
        Video(duration_s=0.5 + index / 20, fps=10, size=(32, 32), picture=picture).write(place)
    (tmp_path / "set" / "notes.txt").write_text("no media")
    return tmp_path / "set"


def test_a_folder_becomes_a_manifest_that_checks_out(folder: Path) -> None:
    built = run("build", "folder", folder, "--group", r"(cam\d)", "--data", folder.parent)
    assert built.exit_code == 0, built.output
    assert "8 examples of 4 sources" in built.output
    examples = read_manifest(folder / "manifest.csv", folder.parent)
    assert [example.path.parent.name for example in examples] == ["moves"] * 4 + ["stands"] * 4
    assert {example.group for example in examples} == {"cam0", "cam1", "cam2", "cam3"}
    other = folder / "other.csv"
    other.write_text("path,label,group\nset/moves/cam0_0.mp4,x,cam0\n")
    checked = run("check", folder / "manifest.csv", "--data", folder.parent, "--also", other)
    assert checked.exit_code == 0, checked.output
    assert "8 examples of 8 files, 4 sources" in checked.output
    assert "  moves: 4, 4 sources" in checked.output
    assert "other.csv: 1 sources are here too, such as cam0" in checked.output
    assert "  moves: 0." in checked.output  # the metadata's AUC
    assert "on how near the files' metadata are" in checked.output


def test_of_many_files_metadata_are_taken_as_they_are(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.data.cli.NEAR_AT_MOST", 7)
    run("build", "folder", folder, "--group", r"(cam\d)")
    checked = run("check", folder / "manifest.csv")
    assert checked.exit_code == 0, checked.output
    assert "on the files' metadata alone" in checked.output


def test_annotations_may_start_with_a_mark_and_must_be_text(tmp_path: Path) -> None:
    (tmp_path / "aaaaaaaaaaa.mp4").write_bytes(b"names are read only")
    annotations = tmp_path / "annotations.csv"
    annotations.write_text("label,youtube_id,time_start,time_end\nx,aaaaaaaaaaa,3,13\n", "utf-8-sig")
    built = run("build", "kinetics", tmp_path)
    assert built.exit_code == 0, built.output
    (example,) = read_manifest(tmp_path / "manifest.csv", tmp_path)
    assert (example.stretch.start_s, example.stretch.end_s) == (3, 13)
    annotations.write_bytes(b"\xff\xfe")
    assert "annotations.csv: 'utf-8' codec" in run("build", "kinetics", tmp_path).output


def test_what_is_wrong_is_told(folder: Path) -> None:
    (folder / "moves" / "broken.mp4").write_bytes(b"no video")
    shutil.copy(folder / "stands" / "cam0_1.mp4", folder / "stands" / "copy.mp4")
    (folder / "moves" / "sound.wav").write_bytes(make_sound(0.3))
    (folder / "manifest.csv").write_text(
        "path,label,group,fold\n"
        "moves/cam0_0.mp4,moves,cam0,1\n"
        "moves/cam1_2.mp4,moves,cam0,2\n"
        "moves/broken.mp4,moves,cam2,2\n"
        "moves/sound.wav,moves,cam4,2\n"
        "stands/cam0_1.mp4,stands,cam3,1\n"
        "stands/copy.mp4,stands,copy,1\n"
        "stands/cam3_7.mp4,alone,cam5,2\n"
    )
    checked = run("check", folder / "manifest.csv")
    assert checked.exit_code == 1
    problems = [line for line in checked.output.splitlines() if line.startswith("PROBLEM")]
    assert len(problems) == 4
    for found in (
        "source(s) in several folds: cam0",
        "label alone comes from one source only, cam5",
        "broken.mp4: ",
        "the same content in several sources: ",
    ):
        assert any(found in line for line in problems), found
    assert "4 problem(s)" in checked.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ucf101",), "not v_CLASS_gNN_cNN.avi: moves/cam0_0.mp4"),
        (("ucf101", "--group", "(x)"), "--group is for kind folder"),
        (("folder", "--group", "(cam"), "is no pattern"),
    ],
)
def test_what_cannot_be_built_is_told(arguments: tuple[str, ...], message: str, folder: Path) -> None:
    built = run("build", arguments[0], folder, *arguments[1:])
    assert built.exit_code != 0
    assert message in built.output
    assert not (folder / "manifest.csv").exists()


def test_a_manifest_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    checked = run("check", tmp_path / "absent.csv")
    assert checked.exit_code == 1
    assert "absent.csv" in checked.output
