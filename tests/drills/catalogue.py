"""All drills, in the order in which they are run and shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests import parts
from tests.drills import network, on_brokers, on_cache, on_machine, on_uploads, on_workers
from tests.drills.brokers import Kind
from tests.drills.faults import is_root
from tests.drills.stage import Findings, Stage

EVERY: tuple[Kind, ...] = ("embedded", "kafka", "cluster")
DURABLE: tuple[Kind, ...] = ("kafka", "cluster")  # what the embedded broker held is gone with it


@dataclass(frozen=True)
class Drill:
    name: str
    fault: str  # for people
    run: Callable[[Stage], Findings]
    brokers: tuple[Kind, ...] = EVERY
    missing: Callable[[], str] = str  # what the machine lacks for it; empty: nothing
    by_default: bool = True  # otherwise in the long set, and by its name

    def why_not(self, kind: Kind) -> str:
        """Why it cannot be run on this broker; empty: it can."""
        if kind not in self.brokers:
            return f"means something on {' and '.join(self.brokers)} only"
        return self.missing()


def _root() -> str:
    return "" if is_root() else "needs root"


def _faketime() -> str:
    return "" if parts.find_faketime() else "needs libfaketime (Debian's package libfaketime)"


DRILLS = (
    Drill("worker-killed", "worker killed", on_workers.killed),
    Drill(
        "worker-killed-exactly-once", "worker killed, `exactly_once`", on_workers.killed_exactly_once, DURABLE
    ),
    Drill("takeover", "worker gone, others take over", on_workers.taken_over),
    Drill("worker-frozen", "worker frozen, and back", on_workers.frozen_and_back),
    Drill("consumer-hung", "consumer wedged", on_workers.hung, EVERY, _root),
    Drill("rebalance-storm", "workers come and go", on_workers.storm),
    Drill("two-versions", "two versions in one group", on_workers.two_versions),
    Drill("decoders-killed", "decoder processes killed", on_workers.decoders_killed),
    Drill("broker-killed", "one broker killed", on_brokers.each_killed, ("cluster",)),
    Drill("brokers-restarted", "all brokers stopped and started", on_brokers.all_restarted, DURABLE),
    Drill("brokers-frozen", "brokers unreachable", on_brokers.all_frozen),
    Drill("producer-wedged", "producer wedged", on_brokers.seen_by_liveness),
    Drill(
        "line-cut", "network cut between worker and brokers", on_brokers.line_cut, DURABLE, network.why_not
    ),
    Drill("cache-killed", "cache killed", on_cache.killed),
    Drill("cache-hanging", "cache hangs", on_cache.hanging),
    Drill("disk-full", "disk full for temporary files", on_machine.disk_full, EVERY, _root),
    Drill("model-damaged", "weights damaged on disk", on_machine.model_damaged),
    Drill("clock-jumps", "clock jumps", on_machine.clock_jumps, EVERY, _faketime),
    Drill("events-repeated", "events repeated and reordered", on_uploads.repeated),
    Drill("flood", "ten times as many uploads", on_uploads.flood),
    Drill("poison", "unreadable records, broken videos", on_uploads.poison),
    Drill("large-inline", "20 MB inside of a record", on_uploads.large_inline),
    Drill("soak", "nothing, for long", on_machine.soak, by_default=False),
)

LONG = ("worker-killed", "brokers-frozen", "soak")
"""Those of which the long set has more than the normal one."""

BY_NAME = {drill.name: drill for drill in DRILLS}
