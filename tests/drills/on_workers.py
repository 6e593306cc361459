"""Workers that are killed, stopped, frozen, come and go."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from tests.brokers import wait_for
from tests.drills.faults import frozen, kill_children, main_thread_stopped
from tests.drills.probes import is_live, is_ready
from tests.drills.stage import MAX_PENDING, Findings, Group, Stage, Target
from tests.drills.workers import READY_WITHIN_S
from worker.child import WorkerProcess
from worker.settings import TelemetrySettings

TAKEOVER_AFTER_SIGTERM_S = 5.0
TWICE = 2.0
SEEN_WITHIN_S = 60.0


def killed(stage: Stage) -> Findings:
    """SIGKILL to a worker that serves, after a random number of verdicts; another is started at once."""
    uploads, kills = stage.pick((80, 2), (2_000, 20), (10_000, 100))
    with stage.group() as group:
        recovered = _killed_at_random(stage, group, uploads, kills)
        found = group.findings(
            f"SIGKILL to one of two workers {kills} times in {uploads} uploads", kills, recovered
        )
    return replace(found, targets=(Target("raw repeats", found.ledger.repeats, MAX_PENDING * kills),))


def killed_exactly_once(stage: Stage) -> Findings:
    """The same with transactions: who reads what is committed sees no verdict twice."""
    uploads, kills = stage.pick((60, 1), (400, 5), (1_000, 20))
    with stage.group(delivery="exactly_once") as group:
        recovered = _killed_at_random(stage, group, uploads, kills)
        found = group.findings(
            f"SIGKILL to one of two workers {kills} times in {uploads} uploads, `exactly_once`",
            kills,
            recovered,
        )
    repeats = found.ledger.repeats
    problems = (f"{repeats} verdicts are there twice",) if repeats else ()
    return replace(found, problems=found.problems + problems)


def taken_over(stage: Stage) -> Findings:
    """One of two workers goes at once or in order; how long until its partitions are answered again."""
    times = stage.pick(1, 3)
    killed_s: list[float] = []
    stopped_s: list[float] = []
    with stage.group() as group:
        ways: tuple[tuple[Callable[[WorkerProcess], object], list[float]], ...] = (
            (group.workers.kill, killed_s),
            (group.workers.stop, stopped_s),
        )
        with group.load(stage.per_s):
            for _ in range(times):
                for end, took_s in ways:
                    since_s = time.monotonic()
                    end(group.workers.running[0])
                    ended_s = time.monotonic()  # before, it may have answered itself
                    took_s.append(ended_s - since_s + group.traffic.wait_until_recovered(ended_s))
                    group.workers.start_ready()
                    group.wait_until_balanced()
        session_s = group.kafka.session_timeout_s
        return group.findings(
            f"SIGKILL and SIGTERM to one of two workers, {times} times each",
            2 * times,
            (*killed_s, *stopped_s),
            figures={"session_timeout_s": session_s},
            targets=(
                Target("takeover after SIGKILL, s", max(killed_s), TWICE * session_s),
                Target("takeover after SIGTERM, s", max(stopped_s), TAKEOVER_AFTER_SIGTERM_S),
            ),
        )


def frozen_and_back(stage: Stage) -> Findings:
    """SIGSTOP for longer than the session: others take over, and what the worker does when it wakes up must
    not contradict them. The kubelet would see it too: its probe is not answered."""
    times = stage.pick(1, 3)
    recovered = []
    with stage.group() as group:
        with group.load(stage.per_s):
            for _ in range(times):
                victim = group.workers.running[0]
                since_s = time.monotonic()
                with frozen([victim.process.pid]):
                    if is_live(victim):
                        group.problems.append("/livez of a frozen worker answered")
                    recovered.append(group.traffic.wait_until_recovered(since_s))
                    time.sleep(max(0.0, TWICE * group.kafka.session_timeout_s - (time.monotonic() - since_s)))
                group.wait_until_balanced()
        seconds = TWICE * group.kafka.session_timeout_s
        return group.findings(
            f"SIGSTOP to one of two workers for {seconds:.0f} s, {times} times", times, tuple(recovered)
        )


def hung(stage: Stage) -> Findings:
    """The thread that polls hangs while all others go on, heartbeats too: nobody takes its partitions. /livez
    must say so, and the drill does what the kubelet does then."""
    limit_s = stage.pick(3.0, TelemetrySettings().max_poll_age_s)
    with stage.group(environment={"SLUICE_TELEMETRY__MAX_POLL_AGE_S": f"{limit_s}"}) as group:
        with group.load(stage.per_s):
            victim = group.workers.running[0]
            since_s = time.monotonic()
            with main_thread_stopped(victim.process.pid):
                wait_for(lambda: not is_live(victim), SEEN_WITHIN_S, "/livez says that the poll loop hangs")
                seen_s = time.monotonic() - since_s
            group.workers.kill(victim)  # not inside: what is traced cannot be buried
            ended_s = time.monotonic()  # before, the uploads that it had were answered
            group.workers.start()
            recovered_s = ended_s - since_s + group.traffic.wait_until_recovered(ended_s)
        return group.findings(
            f"the polling thread of one of two workers stopped (`telemetry.max_poll_age_s` {limit_s:.0f}), "
            "the worker killed when /livez failed",
            1,
            (recovered_s,),
            targets=(Target("seen by liveness, s", seen_s, SEEN_WITHIN_S),),
        )


def storm(stage: Stage) -> Findings:
    """A worker joins and another leaves, again and again, so that the group never comes to rest."""
    times = stage.pick(1, 8, 20)
    begun_s = time.monotonic()
    with stage.group() as group:
        with group.load(stage.per_s):
            for _ in range(times):
                group.workers.start_ready()
                group.workers.stop(group.workers.running[0])
        pace_s = (time.monotonic() - begun_s) / (2 * times)
        return group.findings(
            f"{times} workers joined and {times} left while uploads came in",
            2 * times,
            figures={"seconds_between_changes": pace_s},
        )


def decoders_killed(stage: Stage) -> Findings:
    """SIGKILL to all processes that decode, and to the one that makes them, of every worker."""
    times = stage.pick(2, 15)
    killed, recovered = 0, []
    with stage.group() as group:
        with group.load(2 * stage.per_s):
            for _ in range(times):
                since_s = time.monotonic()
                killed += sum(kill_children(worker.process.pid) for worker in group.workers.running)
                recovered.append(group.traffic.wait_until_recovered(since_s))
                time.sleep(stage.random.uniform(0.0, 1.0))
        return group.findings(
            f"SIGKILL to all decoder processes, {times} times ({killed} processes)", killed, tuple(recovered)
        )


def two_versions(stage: Stage) -> Findings:
    """A rolling change: workers of one group judge by two revisions of the policy, and the old ones are
    killed while the new ones start."""
    uploads = stage.pick(60, 300)
    settings = []
    for revision in (1, 2):
        file = stage.folder / f"policy-{revision}.yaml"
        file.write_text(f'version: 1\nrevision: "{revision}"\npolicies: {{default: {{labels: {{}}}}}}\n')
        settings.append({"SLUICE_POLICY__FILE": f"{file}"})
    old, new = settings
    with stage.group(2, environment=old) as group:
        with group.traffic.steady(stage.per_s):
            group.traffic.wait_for(uploads // 3)
            newer = [group.workers.start_ready(new)]
            group.traffic.wait_for(2 * uploads // 3)
            for worker in group.workers.running[:2]:
                group.workers.kill(worker)
                newer.append(group.workers.start_ready(new))
            group.traffic.wait_for(uploads)
        found = group.findings("two revisions of the policy in one group; the older workers killed", 2)
        revisions = {arrival.verdict.versions.policy for arrival in group.traffic.arrivals}
    figures = {"revisions_seen": float(len(revisions))}
    problems = () if len(revisions) == 2 else (f"verdicts of {len(revisions)} revisions, not of 2",)
    return replace(found, figures=figures, problems=found.problems + problems)


def _killed_at_random(stage: Stage, group: Group, uploads: int, kills: int) -> tuple[float, ...]:
    """Uploads come in bursts, and each kill falls into one. Returns how long each recovery took."""
    burst = uploads // kills
    killed_s: list[float] = []
    for number in range(1, kills + 1):
        seen = len(group.traffic.arrivals)
        group.traffic.offer(burst, per_s=1e6)
        group.traffic.wait_for(seen + stage.random.randint(1, burst // 2))
        victim = _one_that_serves(stage, group)
        killed_s.append(time.monotonic())
        group.workers.kill(victim)
        group.workers.start()
        stage.tell(f"  kill {number} of {kills} after {len(group.traffic.arrivals)} verdicts")
    group.traffic.settle()
    return tuple(group.traffic.recovered_s(since_s) for since_s in killed_s)


def _one_that_serves(stage: Stage, group: Group) -> WorkerProcess:
    wait_for(lambda: any(map(is_ready, group.workers.running)), READY_WITHIN_S, "a worker is ready")
    return stage.random.choice([worker for worker in group.workers.running if is_ready(worker)])
