"""Where training runs: devices, precision and processes."""

from __future__ import annotations

import os
from datetime import timedelta

from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from trainer.config import Fit

# The first process decodes, exports and measures while the others wait for it.
PATIENCE = timedelta(hours=12)


def processes() -> int:
    """How many ``torchrun`` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def leads() -> bool:
    """Whether this is the process that writes what is not training."""
    return os.environ.get("RANK", "0") == "0"


def fabric_of(config: Fit) -> Fabric:
    """One process on one device, or those that ``torchrun`` started, one device each."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    # Which weights rest changes between epochs, so some get no gradient.
    several = DDPStrategy(find_unused_parameters=True, timeout=PATIENCE)
    fabric = Fabric(
        accelerator=config.accelerator,
        devices=here,
        num_nodes=processes() // here,
        strategy=several if processes() > 1 else "auto",
        precision=config.precision,
    )
    fabric.launch()
    return fabric


def wait(config: Fit) -> None:
    """Until all processes are here."""
    if processes() > 1:
        fabric_of(config).barrier()
