"""Where training runs: devices, precision and processes."""

from __future__ import annotations

import os

from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy

from trainer.config import Fit


def fabric_of(config: Fit) -> Fabric:
    """One process on one device, or those that ``torchrun`` started, one device each."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator=config.accelerator,
        devices=here,
        num_nodes=processes // here,
        # Which weights rest changes between epochs, so some get no gradient.
        strategy=DDPStrategy(find_unused_parameters=True) if processes > 1 else "auto",
        precision=config.precision,
    )
    fabric.launch()
    return fabric
