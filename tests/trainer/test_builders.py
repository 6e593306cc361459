"""Manifests of sets whose layout is known, and what is said of others."""

from collections.abc import Callable, Sequence

import pytest

from tests import parts
from trainer.data.builders import (
    BUILDERS,
    Listing,
    Row,
    esc10,
    folder_per_class,
    grid,
    kinetics,
    rwf2000,
    surveillance_fights,
    ucf101,
    ut_interaction,
    written,
    xd_violence,
)
from trainer.data.manifest import ManifestError, read_manifest

ANNOTATIONS = """label,youtube_id,time_start,time_end,split
punching,aaaaaaaaaaa,10,20,train
hugging,aaaaaaaaaaa,30,40,train
hugging,bbbbbbbbbbb,0,10,val
label,youtube_id,time_start,time_end,split
dancing,ccccccccccc,5,15,test
"""
VIDEOS = """https://www.youtube.com/watch?v=aaaaaaaaaaa
fi001: 0.13.50 - 0.15.60
nofi001: 2.34.70 - 2.37.80
https://youtu.be/bbbbbbbbbbb?t=5
fi002: 0.1.00 - 0.3.00

https://www.youtube.com/watch?v=ccccccccccc&t=4s
fi003: 0.1.00 - 0.3.00
fi001: 0.13.50 - 0.15.60
fi004: 0.9.00 - 0.11.00
"""


@pytest.mark.parametrize(
    ("builder", "listing", "rows"),
    [
        (
            ucf101,
            Listing(["Biking/v_Biking_g01_c02.avi", "v_HandstandPushups_g25_c07.avi"]),
            [
                Row("Biking/v_Biking_g01_c02.avi", "Biking", "Biking_g01"),
                Row("v_HandstandPushups_g25_c07.avi", "HandstandPushups", "HandstandPushups_g25"),
            ],
        ),
        (
            kinetics,
            Listing(["aaaaaaaaaaa.mp4", "x/bbbbbbbbbbb_000000_000010.mp4"], {"annotations.csv": ANNOTATIONS}),
            [
                Row("aaaaaaaaaaa.mp4", "punching", "aaaaaaaaaaa", "", "10", "20", "train"),
                Row("aaaaaaaaaaa.mp4", "hugging", "aaaaaaaaaaa", "", "30", "40", "train"),
                Row("x/bbbbbbbbbbb_000000_000010.mp4", "hugging", "bbbbbbbbbbb", split="val"),
            ],
        ),
        (
            rwf2000,
            Listing(["train/Fight/0Ow4_tKOuw_0.avi", "RWF-2000/val/NonFight/-1l5631l3fg_12.avi"]),
            [
                Row("train/Fight/0Ow4_tKOuw_0.avi", "Fight", "0Ow4_tKOuw", split="train"),
                Row("RWF-2000/val/NonFight/-1l5631l3fg_12.avi", "NonFight", "-1l5631l3fg", split="val"),
            ],
        ),
        (
            xd_violence,
            Listing(
                [
                    "1/Bad.Boys.1995__#00-26-51_00-27-53_label_B2-G-0.mp4",
                    "1/Bad.Boys.1995__#01-33-51_01-34-37_label_A.mp4",
                    "v=S-7rRLrxnVQ__#1_label_B4-0-0.mp4",
                ]
            ),
            [
                Row(
                    "1/Bad.Boys.1995__#00-26-51_00-27-53_label_B2-G-0.mp4",
                    "shooting|explosion",
                    "Bad.Boys.1995",
                ),
                Row("1/Bad.Boys.1995__#01-33-51_01-34-37_label_A.mp4", "normal", "Bad.Boys.1995"),
                Row("v=S-7rRLrxnVQ__#1_label_B4-0-0.mp4", "riot", "v=S-7rRLrxnVQ"),
            ],
        ),
        (
            surveillance_fights,
            Listing(
                [
                    "fight/fi001.mp4",
                    "fight/fi002.mp4",
                    "fight/fi003.mp4",
                    "fight/fi004.mp4",
                    "noFight/nofi001.mp4",
                    "noFight/nofi063.mp4",
                ],
                {"videos.txt": VIDEOS},
            ),
            [
                Row("fight/fi001.mp4", "fight", "aaaaaaaaaaa"),
                Row("fight/fi002.mp4", "fight", "bbbbbbbbbbb"),
                Row("fight/fi003.mp4", "fight", "aaaaaaaaaaa"),  # fi001 stands under both
                Row("fight/fi004.mp4", "fight", "aaaaaaaaaaa"),
                Row("noFight/nofi001.mp4", "noFight", "aaaaaaaaaaa"),
                Row("noFight/nofi063.mp4", "noFight", "nofi063"),
            ],
        ),
        (
            ut_interaction,
            Listing(["segmented_set1/0_1_4.avi", "a/segmented_set2/12_11_6.avi"]),
            [
                Row("segmented_set1/0_1_4.avi", "punch", "set1_seq01", split="set1"),
                Row("a/segmented_set2/12_11_6.avi", "negative", "set2_seq11", split="set2"),
            ],
        ),
        (
            esc10,
            Listing(["001 - Dog bark/1-30226-A.ogg", "rain/5-181766-B.ogg"]),
            [
                Row("001 - Dog bark/1-30226-A.ogg", "dog_bark", "30226", "1"),
                Row("rain/5-181766-B.ogg", "rain", "181766", "5"),
            ],
        ),
        (
            grid,
            Listing(["s1/bbaf2n.mpg", "s12/video/mpg_6000/swiz9a.mpg", "s2/lrwyzp.mpg"]),
            [
                Row("s1/bbaf2n.mpg", "2", "s1"),
                Row("s12/video/mpg_6000/swiz9a.mpg", "9", "s12"),
                Row("s2/lrwyzp.mpg", "0", "s2"),
            ],
        ),
        (
            folder_per_class,
            Listing(["a/1.mp4", "b/c/2.mp4"]),
            [Row("a/1.mp4", "a", "a/1.mp4"), Row("b/c/2.mp4", "b", "b/c/2.mp4")],
        ),
        (
            lambda listing: folder_per_class(listing, r"cam(\d+)_"),
            Listing(["a/cam7_1.mp4", "b/cam7_2.mp4"]),
            [Row("a/cam7_1.mp4", "a", "7"), Row("b/cam7_2.mp4", "b", "7")],
        ),
    ],
)
def test_what_names_say(
    builder: Callable[[Listing], list[Row]], listing: Listing, rows: Sequence[Row]
) -> None:
    assert builder(listing) == rows


@pytest.mark.parametrize(
    ("kind", "listing", "message"),
    [
        (
            "ucf101",
            Listing(["v_Biking_g01_c02.avi", "Biking.avi"]),
            r"not v_CLASS_gNN_cNN\.avi: Biking\.avi;",
        ),
        ("ucf101", Listing([]), "no media files; expected v_CLASS"),
        ("folder", Listing(["a.mp4"]), "not CLASS/FILE: a.mp4"),
        ("kinetics", Listing(["a.mp4"]), r"the set has no annotations\.csv"),
        ("kinetics", Listing(["ddddddddddd.mp4"], {"annotations.csv": ANNOTATIONS}), "ddddddddddd"),
        (
            "kinetics",
            Listing(["aaaaaaaaaaa_000011_000021.mp4"], {"annotations.csv": ANNOTATIONS}),
            "aaaaaaaaaaa_000011",
        ),
        (
            "kinetics",
            Listing(["a.mp4"], {"annotations.csv": "label,youtube_id\nx,y\n"}),
            r"annotations\.csv:2: time_start, time_end missing",
        ),
        (
            "kinetics",
            Listing(["a.mp4"], {"annotations.csv": "label,youtube_id,time_start,time_end\nx,y,0,ten\n"}),
            r"annotations\.csv:2: time_start '0' and time_end 'ten' must be whole seconds",
        ),
        ("grid", Listing(["bbaf2n.mpg"]), r"not sN/SENTENCE\.mpg, .*: bbaf2n\.mpg"),
        ("grid", Listing(["s1/bbaw2n.mpg"]), r"s1/bbaw2n\.mpg"),
        ("rwf2000", Listing(["test/Fight/a_0.avi"]), "test/Fight/a_0.avi"),
        ("xd-violence", Listing(["A__#1_label_B3-0-0.mp4"]), "A__#1_label_B3-0-0.mp4"),
        ("xd-violence", Listing(["A__#1_label_0-0-0.mp4"]), "A__#1_label_0-0-0.mp4"),
        ("scfd", Listing(["fight/fi001.mp4"]), r"the set has no videos\.txt"),
        ("ut-interaction", Listing(["segmented_set3/0_1_4.avi"]), "segmented_set3"),
        ("esc10", Listing(["rain/6-1-A.ogg"]), "rain/6-1-A.ogg"),
        ("folder", Listing([f"{i}.mp4" for i in range(7)]), r"0\.mp4, .*4\.mp4 and 2 more; move or rename"),
    ],
)
def test_what_is_not_understood_is_named(kind: str, listing: Listing, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        BUILDERS[kind](listing)


@pytest.mark.parametrize("group", ["cam", "x(.)"])
def test_a_pattern_that_finds_no_source_is_told(group: str) -> None:
    with pytest.raises(ManifestError, match=r"marks no source|not CLASS/FILE with"):
        folder_per_class(Listing(["a/cam7.mp4"]), group)


def test_columns_without_content_are_not_written() -> None:
    rows = [Row("a, b.mp4", "x", "g", split="val")]
    assert written(rows, "set/") == 'path,label,group,split\n"set/a, b.mp4",x,g,val\n'


def test_sources_of_the_violence_set_are_those_that_its_authors_name() -> None:
    root = parts.data_dir() / "scfd"
    listing = Listing(
        sorted(path.relative_to(root).as_posix() for path in root.rglob("*.mp4")),
        {"videos.txt": (root / "videos.txt").read_text()},
    )
    ours = {row.path: row.group for row in surveillance_fights(listing)}
    theirs = {
        example.path.relative_to(root).as_posix(): example.group
        for example in read_manifest(root / "manifest.csv", root.parent)
    }
    assert ours.keys() == theirs.keys()
    # One clip is named under two videos: ours are then one source, which is the stricter way.
    joined = {(theirs[path], ours[path]) for path in ours}
    assert len({group for group, _ in joined}) == len(joined) == 74
    assert len(set(ours.values())) == 73
