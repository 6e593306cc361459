"""Folders of tiny models, and settings that serve them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.inference import tiny
from worker.settings import InferenceSettings, PolicySettings, Settings

# Of white videos a model of gain 1 says `bright` with 0.73, one of gain 8 with nearly 1.
POLICIES = """
version: 1
revision: "1"
policies:
  default: {labels: {bright: {review: 0.6, block: 0.99, band: [0.55, 0.7]}, dark: {ignore: true}}}
"""


def write_filter(models_dir: Path, version: str = "1", *, gain: float = 1.0, **overrides: Any) -> Path:
    """``<models_dir>/tiny-filter/<version>``, which is returned."""
    graph = None if "embedding" in overrides else tiny.video_graph(gain=gain)
    return tiny.write(models_dir, graph, version=version, **overrides)


def settings_for(models_dir: Path, **groups: Any) -> Settings:
    """``groups``: instead of the defaults; of ``inference`` what is to be added."""
    models_dir.mkdir(exist_ok=True)
    policy = models_dir.parent / "policy.yaml"
    policy.write_text(POLICIES)
    inference = {
        "models_dir": models_dir,
        "filter": "tiny-filter",
        "escalation": "",
        "provider": "cpu",
        "threads": 1,
        **groups.pop("inference", {}),
    }
    return Settings(inference=InferenceSettings(**inference), policy=PolicySettings(file=policy), **groups)
