"""The tables of docs/models.md, out of the committed JSON files. No torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trainer.metrics import paired, roc_auc
from trainer.pages import RIGHT, markdown
from trainer.zoo.protocol import Levers, Protocol, SetPlan

Json = dict[str, Any]

HEADS = {"top1": "Top-1", "top5": "Top-5", "accuracy": "Accuracy", "auc": "AUC"}


def tables(protocol: Protocol, levers: Levers, results: Path) -> dict[str, str]:
    """Markdown by the name of its marker: one table for each set, levers, costs, attention, exits."""
    made = {
        name: _set_table(plan, _results(results / "zoo" / name, protocol))
        for name, plan in protocol.sets.items()
    }
    made["exits"] = _exits_table(
        [r for name in protocol.sets for r in _results(results / "zoo" / name, protocol)]
    )
    made["levers"] = _levers_table(levers, results / "levers")
    made["costs"] = _costs_table(_json(results / "costs.json"))
    made["attention"] = _attention_table(_json(results / "attention.json"))
    return made


def _results(folder: Path, protocol: Protocol) -> list[Json]:
    """In the protocol's order; what has no file yet is left out."""
    files = (folder / f"{name}.json" for name in protocol.networks)
    return [_json(file) for file in files if file.exists()]


def _set_table(plan: SetPlan, results: Sequence[Json]) -> str:
    if not results:
        return "No result yet."
    first = results[0]
    names = list(first["figures"])
    head = [
        "Network",
        "Start, or protocol",
        *(HEADS[name] for name in names),
        "Clips/s",
        "Frames/s",
        "Parameters",
        "GFLOPs",
        "Training",
    ]
    ordered = sorted(results, key=lambda result: -result["figures"][names[0]]["value"])
    rows = [_row(result, names) for result in ordered]
    by_chance = ["chance", "", *(_percent(first["chance"][n], n) for n in names), "", "", "", "", ""]
    rows.append(by_chance)
    for published in plan.published:
        rest = [""] * (len(head) - 3)
        rows.append([f"published: {published.method}", published.protocol, published.figure, *rest])
    said = (
        f"{plan.title}: {first['videos']} clips of {first['sources']} sources; {plan.note}. "
        f"Speed: ONNX Runtime, {first['speed']['provider']} provider, "
        f"one thread of {first['machine']['cpu']}."
    )
    return f"{said}\n\n{markdown(head, ['---', '---', *[RIGHT] * (len(head) - 2)], rows)}"


def _row(result: Json, names: Sequence[str]) -> list[str]:
    size, speed = result["input"], result["speed"]
    start = {"probe": "ImageNet, at rest", "heads": "ImageNet, at rest"}.get(
        result["recipe"]["name"], "random"
    )
    return [
        f"`{result['architecture']}` {size['frames']} x {size['height']}",
        start,
        *(_with_interval(result["figures"][name], name) for name in names),
        f"{speed['clips_per_s']:.0f}",
        f"{speed['frames_per_s']:.0f}",
        f"{result['parameters'] / 1e6:.2f} M",
        f"{result['giga_operations']:.2f}",
        f"{result['training_cpu_s']:.0f} s",
    ]


def _with_interval(figure: Json, name: str) -> str:
    low, high = figure["interval"]
    return f"{_percent(figure['value'], name)} ({_percent(low, name)} to {_percent(high, name)})"


def _percent(value: float, name: str) -> str:
    return f"{value:.2f}" if name == "auc" else f"{value:.1%}"


def _exits_table(results: Sequence[Json]) -> str:
    rows = [
        [
            result["set"],
            f"`{result['architecture']}`",
            f"{point['confidence']:.2f}",
            f"{point['accuracy']:.1%}",
            " / ".join(f"{rate:.0%}" for rate in point["rates"]),
        ]
        for result in results
        for point in result["exits"]
    ]
    if not rows:
        return "No result yet."
    head = ["Set", "Network", "Confidence", "Accuracy of clips", "Clips that leave at each exit"]
    return markdown(head, ["---", "---", RIGHT, RIGHT, RIGHT], rows)


def _levers_table(levers: Levers, folder: Path) -> str:
    rows = []
    for name, lever in levers.levers.items():
        changed, plain = (folder / f"{each}.json" for each in (name, lever.network))
        if changed.exists() and plain.exists():
            rows.append([lever.title, f"`{lever.network}`", *_gain(_json(plain), _json(changed))])
    if not rows:
        return "No result yet."
    head = ["Change", "Network", "AUC without", "AUC with", "Difference"]
    return markdown(head, ["---", "---", RIGHT, RIGHT, RIGHT], rows)


def _gain(plain: Json, changed: Json) -> list[str]:
    """AUC of both and their difference, with its interval by bootstrap over sources."""
    paths = [video["path"] for video in plain["videos"]]
    if paths != [video["path"] for video in changed["videos"]]:
        raise ValueError(f"the videos of {changed['title']!r} are not those of {plain['network']}")
    truth = np.array([video["truth"] for video in plain["videos"]], np.float64)
    groups = [video["group"] for video in plain["videos"]]
    before, after = (
        np.array([video["logit"] for video in result["videos"]], np.float64) for result in (plain, changed)
    )
    gained = paired(roc_auc, truth, after, before, groups)
    low, high = gained.interval
    areas = [f"{roc_auc(truth, scores):.3f}" for scores in (before, after)]
    return [*areas, f"{gained.value:+.3f} ({low:+.3f} to {high:+.3f})"]


def _costs_table(costs: Json) -> str:
    video = costs["input"]["video"]
    rows = [
        [
            f"`{name}`",
            f"{cost['parameters'] / 1e6:.2f} M",
            f"{cost['giga_operations']:.2f}",
            f"{cost['giga_multiply_adds']:.2f}",
        ]
        for name, cost in costs["networks"].items()
    ]
    said = (
        f"With default arguments, one clip of {video['frames']} frames of "
        f"{video['height']} x {video['width']} pixels and {costs['input']['audio']['frames']} spectrogram "
        f"frames, {costs['input']['labels']} labels. "
        "A multiply-add is two operations; what papers call GFLOPs is often the last column."
    )
    head = ["Name", "Parameters", "GFLOPs", "G multiply-adds"]
    return f"{said}\n\n{markdown(head, ['---', RIGHT, RIGHT, RIGHT], rows)}"


def _attention_table(found: Json) -> str:
    rows = [
        [
            row["attention"],
            row["formula"].replace("|", "\\|"),
            str(row["frames"]),
            f"{row['pairs_by_formula']:,}",
            f"{row['pairs_counted']:,}",
            f"{row['giga_operations_with_one_block']:.2f}",
        ]
        for row in found["rows"]
    ]
    said = (
        f"Pairs of tokens that one block compares for one clip and head; F frames of S = 196 patches "
        f"({found['height']} pixels in patches of {found['patch']})."
    )
    head = ["Attention", "Formula", "F", "By formula", "Counted", "GFLOPs, one block"]
    return f"{said}\n\n{markdown(head, ['---', '---', *[RIGHT] * 4], rows)}"


def _json(path: Path) -> Json:
    found: Json = json.loads(path.read_text())
    return found
