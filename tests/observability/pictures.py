"""Draws the dashboards with the data of a real run: python -m tests.observability.pictures FOLDER

Grafana itself is not needed: the panels' queries are asked of a Prometheus and drawn by matplotlib. The run
is a worker with the shipped models, sample clips, the same again, broken files and records without an
upload id.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from matplotlib.figure import Figure

from helm.boards import Panel, Row, boards
from tests.brokers import topic_specs, unique_settings
from tests.observability.prometheus import Prometheus, reading
from worker.child import WorkerProcess
from worker.cli import cli
from worker.commands.demo import sample_files
from worker.commands.publish import upload_record
from worker.configuration import variable_name
from worker.standalone import EMBEDDED_SESSION_TIMEOUT_S, EmbeddedBroker, EmbeddedCache
from worker.stream.client import BrokerProducer, create_topics
from worker.stream.types import Outgoing

RUN_S = 100.0
STEP_S = 2.0
RATE_INTERVAL = "15s"
DAY = "2m"  # what the panels call a day, in a run of minutes


def main() -> None:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sluice-boards-")))
        kafka = unique_settings(stack.enter_context(EmbeddedBroker()), EMBEDDED_SESSION_TIMEOUT_S)
        create_topics(kafka, topic_specs(kafka, 4))
        settings = {"SLUICE_CACHE__URL": stack.enter_context(EmbeddedCache())}
        worker = stack.enter_context(WorkerProcess(kafka, folder / "log", settings))
        address = f"127.0.0.1:{worker.health_port}"
        prometheus = stack.enter_context(reading(folder / "prometheus", address))
        worker.wait_until_ready(180.0)
        producer = BrokerProducer(kafka)
        stack.callback(producer.close, 2.0)
        clips = sample_files(folder)
        begun_s = time.time()
        number = 0
        while time.time() < begun_s + RUN_S:
            number += 1
            file = clips[number % len(clips)]
            if number % 7 == 0:
                file = folder / "broken.mp4"
                file.write_bytes(b"\x00\x00\x00\x18ftypmp42" + bytes([number % 256]))
            if number % 11 == 0:
                producer.send(Outgoing(kafka.uploads_topic, b"k", b"{}"))
            if number % 3 == 0:  # not known to the cache
                fresh = folder / f"fresh-{number}.mp4"
                fresh.write_bytes(file.read_bytes() + number.to_bytes(4))
                file = fresh
            producer.send(upload_record(kafka, str(file), upload_id=f"upload-{number}-{file.name}")).result(
                20
            )
            time.sleep(1.0)
        for name, rows in boards().items():
            draw(prometheus, rows, begun_s, time.time(), out / f"{name}.png")
        top = CliRunner().invoke(
            cli, ["top", "--once", "--worker", address], env=_environment(kafka), terminal_width=110
        )
        (out / "top.txt").write_text(top.output)


def draw(prometheus: Prometheus, rows: tuple[Row, ...], start_s: float, end_s: float, out: Path) -> None:
    figure = Figure(figsize=(18, 4 * len(rows)))
    axes = figure.subplots(len(rows), 3, squeeze=False)
    for row, places in zip(rows, axes, strict=True):
        for place in places[len(row.panels) :]:
            place.axis("off")
        for panel, place in zip(row.panels, places, strict=False):
            place.set_title(panel.title, fontsize=10)
            for legend, query in panel.queries.items():
                asked = query.replace("$__rate_interval", RATE_INTERVAL).replace("[1d]", f"[{DAY}]")
                for series in prometheus.range(asked, start_s, end_s, STEP_S):
                    _plot(place, panel, _named(legend, series["metric"]), series["values"], start_s)
            if place.get_legend_handles_labels()[1]:
                place.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(out, dpi=70)


def _plot(place: Any, panel: Panel, name: str, values: list[Any], start_s: float) -> None:
    if panel.kind == "timeseries":
        place.plot([at - start_s for at, _ in values], [float(value) for _, value in values], label=name)
        place.set_ylabel(panel.unit, fontsize=8)
    else:
        place.barh([name], [float(values[-1][1])])


def _named(legend: str, labels: dict[str, str]) -> str:
    if "{{" not in legend:
        return " ".join([legend, *labels.values()])
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend)


def _environment(kafka: Any) -> dict[str, str]:
    given = kafka.model_dump(exclude_unset=True)
    return {variable_name(("kafka", name)): str(value) for name, value in given.items()}


if __name__ == "__main__":
    main()
