"""Manifests of public sets, from the names of their files. Pure: a listing in, rows out.

Every builder refuses, by name, files that it does not understand: a set with another layout than the one it
knows would give wrong labels or, worse, wrong sources.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from trainer.data.manifest import ManifestError

_SUFFIXES = "avi flac flv m4a m4v mkv mov mp3 mp4 mpeg mpg ogg ogv wav webm wmv"
MEDIA = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())
SHOWN = 5  # names in a message


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a manifest; empty where a column says nothing."""

    path: str
    label: str
    group: str
    fold: str = ""
    start_s: str = ""
    end_s: str = ""
    split: str = ""  # the set's own division, for the record: it is not by source everywhere


@dataclass(frozen=True)
class Listing:
    """Paths of media files relative to the set's folder, sorted; texts of files beside them, by name."""

    files: Sequence[str]
    texts: Mapping[str, str] = field(default_factory=dict)

    def text(self, name: str, what: str) -> str:
        if name not in self.texts:
            raise ManifestError(f"the set has no {name}, {what}")
        return self.texts[name]


def folder_per_class(listing: Listing, group: str = "") -> list[Row]:
    """CLASS/.../FILE. ``group``: a regular expression whose first group names the source in a path.

    Without one, every file is taken for a source of its own.
    """
    try:
        source = re.compile(group) if group else None
    except re.error as error:
        raise ManifestError(f"{group!r} is no pattern: {error}") from error
    if source and not source.groups:
        raise ManifestError(f"the pattern {group!r} marks no source: put brackets around it")
    rows, strange = [], []
    for path in listing.files:
        parts = PurePosixPath(path).parts
        found = source.search(path) if source else None
        if len(parts) < 2 or (source and not found):
            strange.append(path)
        else:
            rows.append(Row(path, parts[0], found[1] if found else path))
    return _all(rows, strange, "CLASS/FILE" + (f" with {group}" if group else ""))


def ucf101(listing: Listing) -> list[Row]:
    """v_CLASS_gNN_cNN.avi: the class, and the source within the class."""

    def row(path: str, name: re.Match[str]) -> Row:
        return Row(path, name[1], f"{name[1]}_{name[2]}")

    return _by_name(listing, r"v_([A-Za-z]+)_(g\d{2})_c\d{2}", row, "v_CLASS_gNN_cNN.avi")


def kinetics(listing: Listing) -> list[Row]:
    """Files named after the video, whole or cut: ID.mp4 or ID_SSSSSS_EEEEEE.mp4; labels in annotations.csv.

    The columns are those of the official files: label, youtube_id, time_start, time_end and perhaps split.
    Annotations without a file are left out, for many videos are gone; a file without one is refused.
    """
    text = listing.text(
        "annotations.csv", "which is one of the official files with all labels (or several joined)"
    )
    annotated: dict[str, list[dict[str, str]]] = {}
    for line, entry in enumerate(csv.DictReader(io.StringIO(text)), 2):
        missing = [name for name in ("label", "youtube_id", "time_start", "time_end") if not entry.get(name)]
        if missing:
            raise ManifestError(f"annotations.csv:{line}: {', '.join(missing)} missing")
        if list(entry) == list(entry.values()):
            continue  # a head again: files were joined
        if not (entry["time_start"].isdecimal() and entry["time_end"].isdecimal()):
            raise ManifestError(
                f"annotations.csv:{line}: time_start {entry['time_start']!r} and time_end "
                f"{entry['time_end']!r} must be whole seconds"
            )
        annotated.setdefault(entry["youtube_id"], []).append(entry)
    rows, strange = [], []
    for path in listing.files:
        stem = PurePosixPath(path).stem
        cut = re.fullmatch(r"(.{11})_(\d{6})_(\d{6})", stem)
        entries = annotated.get(cut[1] if cut else stem, [])
        if cut:
            entries = [entry for entry in entries if int(entry["time_start"]) == int(cut[2])]
        if not entries:
            strange.append(path)
        rows += [_kinetics_row(path, entry, whole=not cut) for entry in entries]
    return _all(rows, strange, "ID.mp4 or ID_SSSSSS_EEEEEE.mp4 with a line in annotations.csv")


def _kinetics_row(path: str, entry: Mapping[str, str], *, whole: bool) -> Row:
    start_s, end_s = (entry["time_start"], entry["time_end"]) if whole else ("", "")
    split = entry.get("split") or ""
    return Row(path, entry["label"], entry["youtube_id"], "", start_s, end_s, split)


def rwf2000(listing: Listing) -> list[Row]:
    """train or val / Fight or NonFight / ID_N.avi: clip N of the online video ID."""

    def row(path: str, name: re.Match[str]) -> Row:
        return Row(path, name[2], name[3], split=name[1])

    pattern = r"(?:.*/)?(train|val)/(Fight|NonFight)/(.+)_\d+"
    return _by_path(listing, pattern, row, "train|val/Fight|NonFight/ID_N.avi")


XD_LABELS: Mapping[str, str] = {
    "A": "normal",
    "B1": "fighting",
    "B2": "shooting",
    "B4": "riot",
    "B5": "abuse",
    "B6": "car_accident",
    "G": "explosion",
}


def xd_violence(listing: Listing) -> list[Row]:
    """SOURCE__#PART_label_CODES.mp4: a film or an online video, and up to three codes, as in B2-G-0."""

    def row(path: str, name: re.Match[str]) -> Row | None:
        codes = [code for code in name[2].split("-") if code != "0"]
        if not codes or any(code not in XD_LABELS for code in codes):
            return None
        return Row(path, "|".join(XD_LABELS[code] for code in codes), name[1])

    pattern = r"(.+?)__#?.+_label_([A-Z0-9]+(?:-[A-Z0-9]+)*)_*"
    return _by_name(listing, pattern, row, f"SOURCE__#PART_label_CODES.mp4 with {', '.join(XD_LABELS)}")


def surveillance_fights(listing: Listing) -> list[Row]:
    """fight/fiNNN.mp4 and noFight/nofiNNN.mp4; videos.txt names the online video that clips were cut from.

    A clip that stands under two videos makes these one source. Clips that it does not name were cut from none
    of these; each is taken for a source of its own.
    """
    sources: dict[str, str] = {}
    source = ""
    for line in listing.text("videos.txt", "which says which clips are of one source").splitlines():
        if line.strip().startswith("http"):
            named = re.search(r"(?:v=|youtu\.be/)([\w-]{11})", line)
            source = named[1] if named else line.strip()
        elif clip := re.match(r"\s*((?:no)?fi\d+)\s*:", line):
            first = sources.setdefault(clip[1], source)
            if first != source:
                sources = {name: first if of == source else of for name, of in sources.items()}
                source = first

    def row(path: str, name: re.Match[str]) -> Row:
        return Row(path, name[1], sources.get(name[2], name[2]))

    pattern = r"(?:.*/)?(fight|noFight)/((?:no)?fi\d+)"
    return _by_path(listing, pattern, row, "fight/fiNNN.mp4 or noFight/nofiNNN.mp4")


UT_LABELS = ("handshake", "hug", "kick", "point", "punch", "push")


def ut_interaction(listing: Listing) -> list[Row]:
    """segmented_setS/N_SEQUENCE_CLASS.avi, classes 0 to 5 in the order of ``UT_LABELS``.

    Sources are the sequences. Class 6, crops of other moments, is "negative".
    """

    def row(path: str, name: re.Match[str]) -> Row:
        label = (*UT_LABELS, "negative")[int(name[3])]
        return Row(path, label, f"set{name[1]}_seq{int(name[2]):02}", split=f"set{name[1]}")

    pattern = r"(?:.*/)?segmented_set([12])/\d+_(\d+)_([0-6])"
    return _by_path(listing, pattern, row, "segmented_set1|2/N_SEQUENCE_CLASS.avi")


def esc10(listing: Listing) -> list[Row]:
    """CLASS/FOLD-ID-TAKE.ogg, the class perhaps numbered as in "001 - Dog bark"; ID is the recording."""

    def row(path: str, name: re.Match[str]) -> Row:
        return Row(path, name[1].strip().lower().replace(" ", "_"), name[3], fold=name[2])

    pattern = r"(?:.*/)?(?:\d+ - )?([^/]+)/([1-5])-(\d+)-[A-Z]"
    return _by_path(listing, pattern, row, "CLASS/FOLD-ID-TAKE.ogg")


def grid(listing: Listing) -> list[Row]:
    """sN/.../SENTENCE.mpg: speaker N says command, colour, preposition, letter, digit and adverb.

    The sentence is a letter for each, the digit 0 is z; the digit is the label, the speaker the source.
    """

    def row(path: str, name: re.Match[str]) -> Row:
        return Row(path, name[2].replace("z", "0"), name[1])

    pattern = r"(?:.*/)?(s\d+)/(?:.*/)?[blps][bgrw][abiw][a-vx-z]([z1-9])[anps]"
    return _by_path(listing, pattern, row, "sN/SENTENCE.mpg, six letters as in bbaf2n")


BUILDERS: Mapping[str, Callable[[Listing], list[Row]]] = {
    "folder": folder_per_class,
    "ucf101": ucf101,
    "kinetics": kinetics,
    "rwf2000": rwf2000,
    "xd-violence": xd_violence,
    "scfd": surveillance_fights,
    "ut-interaction": ut_interaction,
    "esc10": esc10,
    "grid": grid,
}
TEXTS = ("annotations.csv", "videos.txt")  # what builders read beside the names


def written(rows: Sequence[Row], prefix: str) -> str:
    """The manifest; ``prefix`` is put before each path. Columns in which nothing stands are left out."""
    names = ["path", "label", "group", "fold", "start_s", "end_s", "split"]
    kept = [name for name in names if any(getattr(row, name) for row in rows)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(kept)
    for row in rows:
        writer.writerow([f"{prefix}{row.path}", *(getattr(row, name) for name in kept[1:])])
    return text.getvalue()


Made = Callable[[str, "re.Match[str]"], Row | None]  # path and match to a row; None: not understood


def _by_name(listing: Listing, pattern: str, row: Made, expected: str) -> list[Row]:
    named = ((path, re.fullmatch(pattern, PurePosixPath(path).stem)) for path in listing.files)
    return _matched(named, row, expected)


def _by_path(listing: Listing, pattern: str, row: Made, expected: str) -> list[Row]:
    """The pattern is of the whole path, less its suffix."""
    named = (
        (path, re.fullmatch(pattern, PurePosixPath(path).with_suffix("").as_posix()))
        for path in listing.files
    )
    return _matched(named, row, expected)


def _matched(named: Iterable[tuple[str, re.Match[str] | None]], row: Made, expected: str) -> list[Row]:
    rows, strange = [], []
    for path, name in named:
        made = row(path, name) if name else None
        if made is None:
            strange.append(path)
        else:
            rows.append(made)
    return _all(rows, strange, expected)


def _all(rows: list[Row], strange: Sequence[str], expected: str) -> list[Row]:
    if strange:
        more = f" and {len(strange) - SHOWN} more" if len(strange) > SHOWN else ""
        raise ManifestError(f"not {expected}: {', '.join(strange[:SHOWN])}{more}; move or rename them")
    if not rows:
        raise ManifestError(f"no media files; expected {expected}")
    return rows
