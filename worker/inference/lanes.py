"""How far uploads of each priority let others overtake them while they wait for a model."""

from __future__ import annotations

from collections.abc import Mapping

from worker.messages import Priority

# Live content is seen while it is judged; batch work (old content, a new model) has all day, but not for
# ever: after its patience it is as urgent as live was when it came.
PATIENCE_S: Mapping[Priority, float] = {"live": 0.0, "standard": 0.5, "batch": 5.0}
