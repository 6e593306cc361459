"""The codec alone, fed just the packets that Sluice's plan names: no file, no scaling, nothing around it."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.decoders.peers import Times
from worker.media.container import DecodeLimits, open_media, packets, video_stream
from worker.media.planner import DecodePlan, plan_decode
from worker.media.track import scan

LIMITS = DecodeLimits()


def plan_of(path: Path, times_s: Times) -> DecodePlan:
    with path.open("rb") as file, open_media(file, LIMITS) as container:
        return plan_decode(scan(container, video_stream(container, LIMITS), LIMITS), times_s)


def codec_cpu_s(path: Path, plan: DecodePlan, size: int) -> float:
    """CPU time of this thread's calls into the decoder: what no way around it can save."""
    with path.open("rb") as file, open_media(file, LIMITS) as container:
        stream = video_stream(container, LIMITS, shown=(size, size))
        held = list(packets(container, stream))
        begun_s = time.process_time()
        for segment in plan.segments:
            stream.codec_context.flush_buffers()
            for place in range(segment.first, segment.last + 1):
                may_drop = not plan.wanted[place] and place > segment.first
                stream.codec_context.skip_frame = "NONREF" if may_drop else "DEFAULT"
                stream.decode(held[place])
            stream.decode(None)
        return time.process_time() - begun_s
