"""The tables of the documentation are those of the committed results."""

from __future__ import annotations

import json

import pytest

from trainer.pages import filled, markdown
from trainer.zoo.cli import LEVERS, PAGE, PROTOCOL, RESULTS
from trainer.zoo.protocol import read_levers, read_protocol
from trainer.zoo.table import tables


def made() -> dict[str, str]:
    return tables(read_protocol(PROTOCOL), read_levers(LEVERS), RESULTS)


def test_the_documentation_shows_the_committed_results() -> None:
    page = PAGE.read_text()
    assert filled(page, made()) == page, "run `sluice zoo table`"


def test_every_table_is_shown() -> None:
    page = PAGE.read_text()
    for name in made():
        assert f"<!-- table {name} -->\n" in page


def test_results_belong_to_the_protocol() -> None:
    """Nothing is shown that the protocol would not give again."""
    protocol = read_protocol(PROTOCOL)
    for file in (RESULTS / "zoo").rglob("*.json"):
        result = json.loads(file.read_text())
        assert (file.parent.name, file.stem) == (result["set"], result["network"])
        assert (result["set"], result["network"]) in protocol.pairs()
        network = protocol.networks[result["network"]]
        shown = ", ".join(f"{key}={value}" for key, value in network.arguments.items())
        assert result["architecture"] == f"{network.architecture}({shown})"
        assert (result["recipe"]["name"], result["input"]["height"]) == (network.recipe, network.size)


def test_levers_change_what_their_file_says() -> None:
    levers, networks = read_levers(LEVERS), read_protocol(PROTOCOL).networks
    for file in (RESULTS / "levers").glob("*.json"):
        result = json.loads(file.read_text())
        lever = (levers.plain() | levers.levers)[file.stem]
        said = (result["network"], result["title"], result["change"], tuple(result["teachers"]))
        assert said == (lever.network, lever.title, lever.change, lever.teachers)
        assert {result["network"], *result["teachers"]} <= set(networks)


def test_a_table_goes_between_its_markers() -> None:
    page = "above\n<!-- table a -->\nold\n<!-- end of table a -->\nbelow\n"
    table = {"a": markdown(["x"], ["---:"], [["1"]])}
    new = "above\n<!-- table a -->\n| x |\n| ---: |\n| 1 |\n<!-- end of table a -->\nbelow\n"
    assert filled(page, table) == new
    assert filled(new, table) == new
    with pytest.raises(ValueError, match="no table 'a', known: b"):
        filled(page, {"b": ""})
