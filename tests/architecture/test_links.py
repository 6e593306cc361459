"""Links between the project's pages lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"\]\((?!https?://|mailto:)(?P<target>[^)\s#]*)(?:#(?P<anchor>[^)\s]*))?\)")
HIDDEN_OR_MADE = re.compile(r"(^|/)(\.|build/|dist/)")
PAGES = [
    name
    for path in sorted(CHECKOUT.rglob("*.md"))
    if not HIDDEN_OR_MADE.search(name := str(path.relative_to(CHECKOUT)))
]


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    page = CHECKOUT / name
    broken = []
    for link in LINK.finditer(page.read_text()):
        target = (page.parent / link["target"]).resolve() if link["target"] else page
        found = target.exists() and (
            not link["anchor"] or target.suffix != ".md" or link["anchor"] in anchors(target)
        )
        if not found:
            broken.append(link[0])
    assert broken == []
