"""The table of docs/embeddings.md, out of the committed JSON."""

from __future__ import annotations

from typing import Any

from trainer.pages import markdown

MARKER = "retrieval"


def table(report: dict[str, Any]) -> str:
    """Retrieval by label and of copies; each figure with its interval, and chance in the last row."""
    features = report["features"]
    kinds = list(next(iter(features.values()))["copies"])
    head = ["vectors", "size", "recall@1", "recall@5", "recall@10", "mAP", *(f"{kind} @1" for kind in kinds)]
    rows = []
    for name, found in features.items():
        figures = [*_of_labels(found), *(found["copies"][kind] for kind in kinds)]
        rows.append([name, str(found["size"]), *map(_shown, figures)])
    any_of_them = next(iter(features.values()))
    chances = [*_of_labels(any_of_them), *(any_of_them["copies"][kind] for kind in kinds)]
    rows.append(["chance", "", *(f"{each['chance']:.3f}" for each in chances)])
    counts = f"{report['videos']} videos, {report['labels']} labels, {report['groups']} sources"
    queries = any_of_them["retrieval"]["queries"]
    sources = "; ".join(dict.fromkeys(f"{each['of']}" for each in features.values()))
    return (
        markdown(head, ["---", *["---:"] * (len(head) - 1)], rows)
        + f"\n\n{counts} of `{report['manifest']}`; {queries} have their label in another source. "
        f"Vectors of: {sources}."
    )


def _of_labels(found: dict[str, Any]) -> list[dict[str, Any]]:
    of_labels = found["retrieval"]
    return [*(of_labels["recall"][k] for k in ("1", "5", "10")), of_labels["mean_average_precision"]]


def _shown(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    return f"{figure['value']:.3f} ({low:.3f} to {high:.3f})"
