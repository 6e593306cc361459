"""The Dockerfile and compose.yaml name what the project has. Building them is not for this suite."""

from __future__ import annotations

import re

import yaml

from tests.helm.chart import BROKER, ci_values, render
from tests.parts import CHECKOUT
from worker import __version__
from worker.commands.topics import create
from worker.configuration import fields, variable_name

DOCKERFILE = (CHECKOUT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())


def test_the_chart_s_images_have_a_target() -> None:
    targets = set(re.findall(r"(?m)^FROM \S+ AS (\S+)$", DOCKERFILE))
    assert {"worker-cpu", "worker-gpu", "trainer"} <= targets


def test_no_tag_or_digest_is_fixed_that_was_not_pulled() -> None:
    assert "sha256:" not in re.sub(r"(?m)^#.*$", "", DOCKERFILE)
    assert len(re.findall(r"(?m)^FROM \$\{PYTHON_IMAGE\}", DOCKERFILE)) == 1, "one base, by build argument"


def test_the_user_of_the_images_is_that_of_the_chart() -> None:
    (user,) = set(re.findall(r"(?m)^USER (\d+):\1$", DOCKERFILE))
    assert render(BROKER).worker()["securityContext"]["runAsUser"] == int(user)


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    allowed = {
        line[1:] for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    for sources in re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", DOCKERFILE):
        for source in sources.split():
            assert (CHECKOUT / source).exists(), source
            assert source.partition("/")[0] in allowed, source


def test_every_image_has_its_labels() -> None:
    assert DOCKERFILE.count("org.opencontainers.image.version") == 3
    assert DOCKERFILE.count("org.opencontainers.image.licenses") == 3


def test_compose_names_settings_that_exist_and_the_version() -> None:
    worker = COMPOSE["services"]["worker"]
    assert set(worker["environment"]) <= {variable_name(path) for path, _ in fields()}
    assert worker["image"] == f"sluice:{__version__}-cpu"
    assert worker["build"]["target"] == "worker-cpu"
    assert worker["read_only"] is True


def test_compose_makes_the_topics_by_the_worker_s_own_image_and_command() -> None:
    topics, worker = COMPOSE["services"]["topics"], COMPOSE["services"]["worker"]
    shared = ("image", "environment", "read_only", "tmpfs", "cap_drop", "security_opt")
    assert [topics[name] for name in shared] == [worker[name] for name in shared]
    assert "build" not in topics, "the worker builds the image; twice would be a race"
    group, name, *options = topics["command"]
    assert (group, name) == ("topics", "create")
    assert create.make_context(name, options).params["partitions"] == 4
    assert worker["depends_on"]["topics"] == {"condition": "service_completed_successfully"}


def test_compose_and_chart_try_out_the_same_servers() -> None:
    images = {pod["containers"][0]["image"] for _, pod in render(ci_values("tryout")).pods()}
    services = COMPOSE["services"]
    assert {services["kafka"]["image"], services["redis"]["image"]} <= images
