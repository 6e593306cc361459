from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.inference import tiny
from worker.cascade.policy import Policy, load_policies
from worker.cascade.policy_file import PolicyFile
from worker.inference.registry import find_artifact
from worker.telemetry.drift import expect_scores, expected_shares
from worker.telemetry.metrics import SCORE_BINS, Metrics

SPEC = tiny.spec("filter")  # labels bright and dark, sigmoid of the logits, mean of the two highest clips
LOW, HIGH = -5.0, 5.0  # sigmoid: 0.007 and 0.993
HELD_OUT: dict[str, Any] = {
    "labels": ["bright"],
    "videos": [
        {"truth": [1], "fp32": [[HIGH], [HIGH], [LOW]], "int8": [[LOW], [LOW]]},
        {"truth": [0], "fp32": [[LOW], [LOW]], "int8": [[HIGH], [HIGH]]},
        {"truth": [0], "fp32": [[0.0]], "int8": [[0.0]]},
        {"truth": [None], "fp32": [[HIGH]], "int8": [[HIGH]]},  # nobody knows: left out
    ],
}


def policy(text: str = "default: {}") -> Policy:
    file = PolicyFile.parse(f"version: 1\nrevision: '1'\npolicies:\n  {text}\n".encode())
    return load_policies(file, [SPEC], None).get("default")


@pytest.mark.parametrize(
    ("precision", "prevalence", "expected"),
    [
        ("fp32", 0.5, {"0.1": 0.25, "0.6": 0.25, "1.0": 0.5}),
        ("fp32", 0.02, {"0.1": 0.49, "0.6": 0.49, "1.0": 0.02}),
        ("int8", 0.5, {"0.1": 0.5, "0.6": 0.25, "1.0": 0.25}),
    ],
)
def test_held_out_scores_at_the_prevalence_that_is_expected(
    precision: str, prevalence: float, expected: dict[str, float]
) -> None:
    shares = expected_shares(HELD_OUT, SPEC, precision, {"bright": prevalence, "dark": 0.5})
    assert shares.keys() == {"bright"}  # the videos do not know `dark`
    np.testing.assert_allclose(shares["bright"], [expected.get(upper, 0.0) for upper in SCORE_BINS])


def test_a_label_with_one_kind_of_video_has_no_reference() -> None:
    only_negatives = {**HELD_OUT, "videos": HELD_OUT["videos"][1:]}
    assert expected_shares(only_negatives, SPEC, "fp32", {"bright": 0.5, "dark": 0.5}) == {}


def test_the_policys_prevalence_counts(tmp_path: Path) -> None:
    (tmp_path / "held_out.json").write_text(json.dumps(HELD_OUT))
    metrics = Metrics()
    expect_scores(metrics, SPEC, tmp_path, "fp32", policy("default: {labels: {bright: {prevalence: 0.02}}}"))
    assert metrics.value("sluice_score_reference", label="bright", bin="1.0") == pytest.approx(0.02)
    expect_scores(metrics, SPEC, tmp_path, "fp32", policy())
    assert metrics.value("sluice_score_reference", label="bright", bin="1.0") == pytest.approx(0.5)


@pytest.mark.parametrize(
    "text", [None, "not JSON", '{"labels": ["bright"]}', '{"labels": ["bright"], "videos": [{}]}']
)
def test_without_usable_held_out_scores_there_is_no_reference(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "held_out.json").write_text(text)
    metrics = Metrics()
    expect_scores(metrics, SPEC, tmp_path, "fp32", policy())
    exposition = metrics.exposition().decode()
    assert "sluice_score_reference{" not in exposition
    assert exposition.count("sluice_scores_total{") == 2 * len(SCORE_BINS)


def test_the_filter_that_ships_has_one() -> None:
    artifact = find_artifact("violence-filter")
    held_out = json.loads((artifact.folder / "held_out.json").read_text())
    shares = expected_shares(held_out, artifact.spec, "int8", {"violence": 0.02})["violence"]
    assert sum(shares) == pytest.approx(1.0)
    assert sum(shares[:5]) > 0.5 > sum(shares[8:])  # most are no violence
