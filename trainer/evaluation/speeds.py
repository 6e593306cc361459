"""How long a clip took, as ``metrics.json`` holds it. Measuring is ``trainer.speed``'s, and needs torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Speed:
    """One clip at a time; the least is the figure that other work on the machine disturbs least."""

    variant: str
    provider: str
    threads: int
    median_ms_per_clip: float
    least_ms_per_clip: float
