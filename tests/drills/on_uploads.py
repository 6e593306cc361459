"""Uploads that come twice, out of order, in a flood, unreadable, or very large."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Sequence

from tests.drills.probes import polls_over
from tests.drills.stage import MAX_PENDING, Findings, Group, Stage, Target

# One in a hundred of the uploads of a round.
POISON = (None, b"", b"not JSON", b"[]", b"{}", b'{"upload_id": ""}', b"\xff\xfe", b'{"upload_id": "u')
THROUGHPUT_KEPT = 0.9
SLOW_POLL_S = "5.0"
INLINE_BYTES = 20_000_000
INLINE_WITHIN_S = 2.0
MODEL_STAGES = ("filter", "escalation")


def repeated(stage: Stage) -> Findings:
    """Each event up to four times, all of them shuffled, as replays and retries of producers bring them."""
    uploads = stage.pick(30, 300)
    with stage.group() as group:
        files = {uuid.uuid4().hex: group.traffic.media.fresh() for _ in range(uploads)}
        events = [event for event in files.items() for _ in range(stage.random.randint(1, 4))]
        stage.random.shuffle(events)
        for upload, file in events:
            group.traffic.publish(file, upload)
        return group.findings(f"{len(events)} events for {uploads} uploads, shuffled", len(events) - uploads)


def flood(stage: Stage) -> Findings:
    """Ten times as many for a while. Recovered when as many are answered as have come."""
    seconds = stage.pick(1.0, 6.0)
    per_s = stage.per_s / 2
    with stage.group() as group:
        with group.load(per_s):
            group.traffic.offer(round(9 * per_s * seconds), 9 * per_s)
            since_s = time.monotonic()
            group.traffic.wait_until_open(at_most=MAX_PENDING)
            recovered_s = time.monotonic() - since_s
        return group.findings(
            f"{10 * per_s:.0f} uploads a second instead of {per_s:.0f}, for {seconds:.0f} s",
            1,
            (recovered_s,),
        )


def poison(stage: Stage) -> Findings:
    """One record in a hundred without a readable upload id, one upload in a hundred that is no video."""
    uploads, rounds = stage.pick((50, 1), (800, 2))
    with stage.group() as group:
        _judged_per_s(group, uploads // 2, ())  # warms up
        slow_before = _slow_polls(group)
        clean, poisoned = [], []
        for _ in range(rounds):
            clean.append(_judged_per_s(group, uploads, ()))
            poisoned.append(_judged_per_s(group, uploads, POISON))
        slow = _slow_polls(group) - slow_before
        kept = statistics.median(poisoned) / statistics.median(clean)
        count = rounds * len(POISON)
        return group.findings(
            f"{count} unreadable records and as many broken videos among {rounds * uploads} uploads",
            2 * count,
            figures={"clean_per_s": statistics.median(clean), "poisoned_per_s": statistics.median(poisoned)},
            targets=(
                Target("throughput lost, share", 1 - kept, 1 - THROUGHPUT_KEPT),
                Target(f"polls over {SLOW_POLL_S} s", slow, 0),
            ),
        )


def large_inline(stage: Stage) -> Findings:
    """Media inside of the record, one after the other."""
    count = stage.pick(1, 6)
    took_s = []
    with stage.group(1) as group:
        group.traffic.publish()
        group.traffic.settle()  # the first upload makes connections
        for _ in range(count):
            file = group.traffic.media.fresh(padding_bytes=INLINE_BYTES)
            begun_s = time.monotonic()
            upload = group.traffic.publish_inline(file)
            group.traffic.settle()
            (arrival,) = (a for a in group.traffic.arrivals if a.verdict.upload_id == upload)
            model_ms = sum(arrival.verdict.timings_ms.get(name, 0.0) for name in MODEL_STAGES)
            took_s.append(arrival.at_s - begun_s - model_ms / 1000)
        median_s = statistics.median(took_s)
        return group.findings(
            f"{count} uploads of {INLINE_BYTES / 1e6:.0f} MB inside of their records",
            count,
            figures={"median_s": median_s, "worst_s": max(took_s)},
            targets=(Target("end to end without the model, s", median_s, INLINE_WITHIN_S),),
        )


def _slow_polls(group: Group) -> int:
    return sum(polls_over(worker, SLOW_POLL_S) for worker in group.workers.running)


def _judged_per_s(group: Group, uploads: int, unreadable: Sequence[bytes | None]) -> float:
    """All at once, what is unreadable among them, and as many broken videos more."""
    group.traffic.settle()
    every = uploads // (len(unreadable) + 1)
    begun_s = time.monotonic()
    for number in range(uploads):
        group.traffic.publish()
        if unreadable and number % every == 0 and number // every < len(unreadable):
            group.traffic.publish_unreadable(unreadable[number // every])
            group.traffic.hopeless.add(group.traffic.publish(group.traffic.media.broken()))
    group.traffic.settle()
    return uploads / (time.monotonic() - begun_s)
