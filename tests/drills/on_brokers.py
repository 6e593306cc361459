"""Brokers that are killed, stopped, frozen, or behind a line that is cut."""

from __future__ import annotations

import signal
import time

from tests.brokers import wait_for
from tests.drills.faults import frozen
from tests.drills.probes import is_live, partitions
from tests.drills.stage import MAX_PENDING, PARTITIONS, Findings, Stage, Target

STOPPED_S = 8.0
RESUMED_WITHIN_S = 5.0
SEEN_WITHIN_S = 60.0
REPLICATED_WITHIN_S = 60.0


def each_killed(stage: Stage) -> Findings:
    """One of three after the other; the next when the one before is in sync again."""
    recovered = []
    with stage.group() as group:
        with group.load(stage.per_s):
            for node in stage.broker.nodes:
                since_s = time.monotonic()
                node.stop(signal.SIGKILL)
                recovered.append(group.traffic.wait_until_recovered(since_s))
                node.start()
                stage.broker.wait_until_in_sync(REPLICATED_WITHIN_S)
        return group.findings(
            "SIGKILL to each of three brokers in turn, and started again", 3, tuple(recovered)
        )


def all_restarted(stage: Stage) -> Findings:
    """All brokers at once, for a while. The time to recover begins when they are back."""
    with stage.group() as group:
        with group.load(stage.per_s):
            for node in stage.broker.nodes:
                node.stop(signal.SIGKILL)
            time.sleep(STOPPED_S)
            for node in stage.broker.nodes:
                node.launch()
            for node in stage.broker.nodes:
                node.wait_until_started()
            recovered_s = group.traffic.wait_until_recovered(time.monotonic())
        return group.findings(
            f"SIGKILL to all brokers, started again after {STOPPED_S:.0f} s",
            len(stage.broker.nodes),
            (recovered_s,),
            targets=(Target("resumed after the brokers are back, s", recovered_s, RESUMED_WITHIN_S),),
        )


def all_frozen(stage: Stage) -> Findings:
    """They accept connections and answer nothing. What workers send waits; workers go on, or start again."""
    seconds = stage.pick(6.0, 20.0, 60.0)
    with stage.group() as group:
        with group.load(stage.per_s):
            with frozen(stage.broker.pids()):
                time.sleep(seconds)
            recovered_s = group.traffic.wait_until_recovered(time.monotonic())
        return group.findings(f"SIGSTOP to all brokers for {seconds:.0f} s", 1, (recovered_s,))


def seen_by_liveness(stage: Stage) -> Findings:
    """A verdict that nobody acknowledges: /livez says so before the worker gives up."""
    limit_s = stage.pick(3.0, 30.0)
    environment = {"SLUICE_TELEMETRY__MAX_UNACKNOWLEDGED_S": f"{limit_s}"}
    with stage.group(1, environment=environment) as group:
        (worker,) = group.workers.running
        with group.load(stage.per_s):
            group.traffic.offer(3 * MAX_PENDING, per_s=1e6)  # so that verdicts are on their way
            group.traffic.wait_for(len(group.traffic.arrivals) + 1)
            with frozen(stage.broker.pids()):
                since_s = time.monotonic()
                wait_for(
                    lambda: not is_live(worker), SEEN_WITHIN_S, "/livez says that the producer is wedged"
                )
                seen_s = time.monotonic() - since_s
            recovered_s = group.traffic.wait_until_recovered(time.monotonic())
        return group.findings(
            f"SIGSTOP to all brokers until /livez fails (`telemetry.max_unacknowledged_s` {limit_s:.0f})",
            1,
            (recovered_s,),
            targets=(Target("seen by liveness, s", seen_s, SEEN_WITHIN_S),),
        )


def line_cut(stage: Stage) -> Findings:
    """One of two workers is cut off for longer than its session. The other takes over; what the lonely one
    has finished meanwhile must not contradict it when the line is back."""
    network = stage.network
    assert network is not None
    with stage.group(1, shared_cache=False) as group:
        with network.far():
            lonely = group.workers.start(supervised=False)
            lonely.wait_until_ready()
        near = group.workers.running[0]
        wait_for(lambda: partitions(near) == PARTITIONS // 2, 60.0, "both workers have partitions")
        seconds = 3 * group.kafka.session_timeout_s
        with group.load(stage.per_s):
            since_s = time.monotonic()
            with network.cut():
                recovered_s = group.traffic.wait_until_recovered(since_s)
                time.sleep(max(0.0, seconds - (time.monotonic() - since_s)))
            wait_for(lambda: partitions(near) == PARTITIONS // 2, 60.0, "the other worker is back")
        return group.findings(
            f"all packets between one of two workers and the brokers dropped for {seconds:.0f} s",
            1,
            (recovered_s,),
        )
