"""Models that do not come with the image: what the pods' containers do, done for real."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from models.spec import SPEC_FILE, file_sha256
from tests.helm.chart import BROKER, Rendered, Resource, below, ci_values, render
from tests.model_folders import write_filter
from worker.cli import cli
from worker.errors import ArtifactInvalid
from worker.inference.registry import find_artifact, verify

PINNED = f"#sha256={'0' * 64}"


def init(rendered: Rendered) -> Resource:
    (found,) = rendered.worker()["initContainers"]
    assert isinstance(found, dict)
    return found


def variables(container: Resource) -> dict[str, object]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


def run(container: Resource, root: Path) -> Result:
    """The container's command, with ``root`` in place of the root folder."""
    places = ("/models", "/source")

    def here(text: str) -> str:
        for place in places:
            text = text.replace(place, f"{root}{place}")
        return text

    environment = {name: here(str(value)) for name, value in variables(container).items()}
    return CliRunner().invoke(cli, [here(each) for each in container["args"]], env=environment)


@pytest.mark.parametrize(("pinned", "right"), [("", True), ("of the spec", True), (PINNED, False)])
def test_a_claim_is_copied_when_it_is_what_the_values_say(pinned: str, right: bool, tmp_path: Path) -> None:
    published = write_filter(tmp_path / "source", "7")
    if pinned == "of the spec":
        pinned = f"#sha256={file_sha256(published / SPEC_FILE)}"
    values = {"existingClaim": "c", "pull": [f"file:///source/tiny-filter/7{pinned}"]}
    done = run(init(render(BROKER, {"models": values})), tmp_path)
    if right:
        assert done.exit_code == 0, done.output
        artifact = find_artifact("tiny-filter", tmp_path / "models")
        verify(artifact, artifact.spec.variants[0])
    else:
        assert isinstance(done.exception, ArtifactInvalid)
        assert "expected sha256 0000" in str(done.exception)
        assert not list((tmp_path / "models").iterdir())


def test_the_containers_take_the_models_from_a_store_into_the_workers_folder() -> None:
    rendered = render(ci_values("store"))
    pod = rendered.worker()
    worker, watch = pod["containers"]
    assert (init(rendered)["name"], worker["name"], watch["name"]) == ("models", "worker", "models-watch")
    uris = ci_values("store")["models"]["pull"]
    assert init(rendered)["args"] == ["models", "pull", *uris, "--to=/models"]
    assert watch["args"] == [*init(rendered)["args"], "--every=60"]
    assert watch["image"] == init(rendered)["image"] == worker["image"]
    (mount,) = [each for each in worker["volumeMounts"] if each["name"] == "models"]
    assert mount == {"name": "models", "mountPath": "/models", "readOnly": True}
    assert rendered.variables()["SLUICE_INFERENCE__MODELS_DIR"] == "/models"


def test_the_store_of_models_is_not_that_of_uploads() -> None:
    rendered = render(ci_values("store"), below("settings.fetch", {"max_bytes": 1000, "read_timeout_s": 7}))
    found = variables(init(rendered))
    assert found["SLUICE_FETCH__S3_ENDPOINT_URL"] == "http://minio.models:9000"
    assert found["SLUICE_FETCH__MAX_BYTES"] == str(4 * 1024**3)
    assert found["SLUICE_FETCH__READ_TIMEOUT_S"] == "7", "what models do not say is as for uploads"
    assert found["SLUICE_FETCH__S3_ACCESS_KEY"] == {
        "secretKeyRef": {"name": "models-store", "key": "s3_access_key"}
    }
    assert not [name for name in found if not name.startswith("SLUICE_FETCH__")], "and nothing else is known"
    assert rendered.variables()["SLUICE_FETCH__S3_ENDPOINT_URL"] == ""


def test_keys_are_those_of_uploads_where_models_have_none() -> None:
    found = variables(init(render(ci_values("store"), below("models.existingSecret", ""))))
    assert found["SLUICE_FETCH__S3_SECRET_KEY"] == {
        "secretKeyRef": {"name": "uploads-store", "key": "secret"}
    }


def test_their_stores_are_reached() -> None:
    policy = render(ci_values("store")).one("NetworkPolicy", "-sluice")["spec"]
    ports = {port["port"] for rule in policy["egress"] for port in rule["ports"]}
    assert {443, 8443, 9000} <= ports


def test_pods_are_replaced_when_other_models_are_meant() -> None:
    pods = [
        render(
            ci_values("store"), below("models.pull", [f"s3://m/f/{version}"]), below("models.everySeconds", 0)
        )
        for version in "12"
    ]
    assert pods[0].worker() != pods[1].worker()
    assert len(pods[0].worker()["containers"]) == 1


def test_without_models_of_its_own_nothing_is_brought() -> None:
    pod = render(BROKER).worker()
    assert "initContainers" not in pod
    assert "models" not in {volume["name"] for volume in pod["volumes"]}
