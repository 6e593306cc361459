"""What one training run does, read from a YAML file. Importable without torch."""

from trainer.config.base import ConfigError, Section, Share
from trainer.config.compress import Distil, Gate, Prune, Quantise
from trainer.config.data import Augment, Data, FlowMethod, FurtherSet, Target, Views
from trainer.config.fit import Architecture, Fit
from trainer.config.judge import Baseline, Calibrate
from trainer.config.train import TrainConfig, read_config

__all__ = [
    "Architecture",
    "Augment",
    "Baseline",
    "Calibrate",
    "ConfigError",
    "Data",
    "Distil",
    "Fit",
    "FlowMethod",
    "FurtherSet",
    "Gate",
    "Prune",
    "Quantise",
    "Section",
    "Share",
    "Target",
    "TrainConfig",
    "Views",
    "read_config",
]
