"""What one change to a network of the protocol gains on held-out videos, beside the same network without it.

Both are trained on the same folds with the same seed, by all the steps of a training run (teachers,
pruning and so on, see ``trainer.learn``), and scored as serving would. The scores of every video are kept, so
that the difference can be told with a paired interval.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from models.architectures import registry
from trainer.config import TrainConfig
from trainer.data.dataset import VideoSet
from trainer.data.rolls import ClipCache
from trainer.fit import score, threads
from trainer.learn import Learner
from trainer.zoo.protocol import Lever, Levers, Protocol
from trainer.zoo.run import Log, labelled

PRETRAINED = "{pretrained}"  # in a change of ``init``: the folder of start weights


def run(
    levers: Levers, protocol: Protocol, root: Path, out: Path, cache: ClipCache, pretrained: Path, log: Log
) -> None:
    """Every lever, and every network without one, whose file is not there yet. Raises ValueError."""
    for name, lever in (levers.plain() | levers.levers).items():
        path = out / f"{name}.json"
        if path.exists():
            log(f"{name}: there already")
            continue
        result = _result(levers.set, lever, protocol, root, cache, pretrained)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n")
        log(f"{name}: done")


def _result(
    set_name: str, lever: Lever, protocol: Protocol, root: Path, cache: ClipCache, pretrained: Path
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="sluice-levers-") as folder, threads(1):
        config = _started(_config(set_name, lever, protocol, root, Path(folder)), pretrained)
        videos = labelled(VideoSet.read(config, cache))
        videos.decode_all(lambda line: None)
        found = []
        for split in videos.splits():
            network = Learner(videos, split, config.fit.seed, lambda epoch, loss: None).network()
            for index, logits in zip(split.test, score(network, videos, split.test), strict=True):
                example = videos.examples[index]
                said = {
                    "path": str(example.path.relative_to(root)),
                    "group": example.group,
                    "fold": split.name,
                }
                truth = int(videos.targets[index, 0])
                found.append(said | {"truth": truth, "logit": round(float(logits.mean(0)[0]), 4)})
    return {
        "set": set_name,
        "network": lever.network,
        "title": lever.title,
        "change": lever.change,
        "teachers": lever.teachers,
        "videos": found,
    }


def _config(set_name: str, lever: Lever, protocol: Protocol, root: Path, folder: Path) -> TrainConfig:
    plain = _protocol_config(protocol, set_name, lever.network, root)
    teachers = []
    for teacher in lever.teachers:
        path = folder / f"{teacher}.yaml"
        taught = _protocol_config(protocol, set_name, teacher, root)
        path.write_text(yaml.safe_dump(taught.model_dump(mode="json")))
        teachers.append(str(path))
    change = lever.change | ({"distil": {"teachers": teachers}} if teachers else {})
    return TrainConfig.model_validate(_merged(plain.model_dump(), change))


def _protocol_config(protocol: Protocol, set_name: str, network: str, root: Path) -> TrainConfig:
    hears = registry.FAMILIES[protocol.networks[network].architecture].hears
    return protocol.config(set_name, network, root, hears=hears)


def _merged(whole: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings are merged, everything else is replaced."""
    merged = dict(whole)
    for key, value in change.items():
        mine = merged.get(key)
        both = isinstance(mine, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(mine, value) if both else value  # type: ignore[arg-type]
    return merged


def _started(config: TrainConfig, pretrained: Path) -> TrainConfig:
    return config.model_copy(update={"init": config.init.replace(PRETRAINED, str(pretrained))})
