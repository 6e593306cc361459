"""Tables in Markdown pages, written between markers from the committed results. No torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

RIGHT = "---:"


def filled(page: str, made: Mapping[str, str]) -> str:
    """The page with each table between its markers. Raises ValueError for a marker without a table."""

    def replace(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in made:
            raise ValueError(f"no table {name!r}, known: {', '.join(made)}")
        return f"<!-- table {name} -->\n{made[name]}\n<!-- end of table {name} -->"

    return re.sub(
        r"<!-- table (?P<name>[a-z0-9_-]+) -->\n.*?<!-- end of table (?P=name) -->", replace, page, flags=re.S
    )


def markdown(head: Sequence[str], align: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, align, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figures(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table whose first column names what the others say in numbers."""
    align = ["---", *[RIGHT] * (len(head) - 1)]
    return markdown(head, align, [[_cell(cell) for cell in row] for row in rows])


def _cell(value: object) -> str:
    return "" if value is None else str(value).replace("|", "\\|")
