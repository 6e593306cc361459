"""Real ONNX Runtime, on every provider of the installed wheel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from models.spec import Embedding, file_sha256, read_spec, write_spec
from tests import parts
from tests.inference.tiny import (
    AUDIO,
    EMBEDDING,
    Graph,
    clips,
    embedding_graph,
    embeddings_of,
    logits_of,
    unsupported_graph,
    video_graph,
    write,
)
from worker.errors import ArtifactInvalid, ProviderMissing
from worker.inference import session as module
from worker.inference.providers import ON_GPU, PROVIDERS, GpuOptions
from worker.inference.registry import find_artifact
from worker.inference.session import Session, installed_providers, open_session
from worker.inference.types import Inputs, joined

INSTALLED = installed_providers()


def opened(folder: Path, provider: str = "cpu", name: str = "tiny-filter") -> Session:
    return open_session(find_artifact(name, folder), provider=provider, threads=1)


@pytest.fixture(params=INSTALLED)
def provider(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Each provider of the wheel; those of a GPU that is not there are skipped, visibly."""
    name = str(request.param)
    folder = tmp_path_factory.mktemp("probe")
    write(folder)
    try:
        opened(folder, name)
    except ProviderMissing as error:
        parts.miss(f"execution provider {name}", str(error))
    return name


def test_answers_are_those_of_the_network(tmp_path: Path, provider: str) -> None:
    write(tmp_path)
    session = opened(tmp_path, provider)
    assert session.provider == provider
    for brightness in ([7], [0, 255], [1, 2, 3], [9, 8, 7, 6, 5]):
        found = session.run(Inputs(clips(*brightness))).logits
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, logits_of(*brightness), atol=1e-5)


def test_sound_reaches_the_network_only_where_there_is_some(tmp_path: Path, provider: str) -> None:
    write(tmp_path, role="escalation", audio=True)
    session = opened(tmp_path, provider, "tiny-escalation")
    loud = np.full((1, AUDIO.frames, AUDIO.mels), 0.5, np.float32)
    both = joined([Inputs(clips(0), loud), Inputs(clips(0, 0))], session.spec)
    found = session.run(both).logits[:, 0]
    np.testing.assert_allclose(found, [10.5, -1.0, -1.0], atol=1e-4)


def test_an_embedding_comes_beside_the_logits_where_the_spec_names_one(tmp_path: Path, provider: str) -> None:
    write(tmp_path / "with", embedding=EMBEDDING)
    write(tmp_path / "without")
    found = opened(tmp_path / "with", provider).run(Inputs(clips(0, 80, 255)))
    np.testing.assert_allclose(found.logits, logits_of(0, 80, 255), atol=1e-5)
    assert found.embeddings is not None
    np.testing.assert_allclose(found.embeddings, embeddings_of(0, 80, 255), atol=1e-5)
    assert opened(tmp_path / "without", provider).run(Inputs(clips(0))).embeddings is None


@pytest.mark.skipif(INSTALLED != ("openvino", "cpu"), reason="needs the wheel with OpenVINO")
def test_auto_takes_the_best_that_runs(tmp_path: Path) -> None:
    write(tmp_path)
    assert opened(tmp_path, "auto").provider == "openvino"


@pytest.mark.parametrize("provider", sorted(set(PROVIDERS) - set(INSTALLED)))
def test_a_provider_that_is_not_installed(tmp_path: Path, provider: str) -> None:
    write(tmp_path)
    with pytest.raises(ProviderMissing, match=rf"'{provider}' is not in the installed .*installed: .*cpu"):
        opened(tmp_path, provider)


@pytest.mark.skipif("openvino" not in INSTALLED, reason="needs the wheel with OpenVINO")
def test_a_node_that_falls_back_is_an_error_and_auto_goes_on(tmp_path: Path) -> None:
    write(tmp_path, unsupported_graph())
    with pytest.raises(ProviderMissing, match=r"fell back: .*Inverse on CPUExecutionProvider"):
        opened(tmp_path, "openvino")
    assert opened(tmp_path, "auto").provider == "cpu"


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (video_graph(batch=4), "inputs do not fit spec.json"),
        (video_graph(size=32), r"\('N', 2, 16, 16, 3\).*found .*32"),
    ],
    ids=["fixed batch", "another size"],
)
def test_a_network_that_does_not_fit_its_spec(tmp_path: Path, graph: Graph, expected: str) -> None:
    write(tmp_path, graph)
    with pytest.raises(ArtifactInvalid, match=expected):
        opened(tmp_path)


def test_a_network_without_the_inputs_that_its_spec_names(tmp_path: Path) -> None:
    write(tmp_path, video_graph(), role="escalation", audio=True)
    with pytest.raises(ArtifactInvalid, match="log_mel"):
        opened(tmp_path, name="tiny-escalation")


@pytest.mark.parametrize(
    ("graph", "embedding"),
    [(video_graph(), EMBEDDING), (embedding_graph(), None), (embedding_graph(), Embedding(size=4))],
    ids=["missing", "not in the spec", "another size"],
)
def test_an_embedding_that_does_not_fit_the_spec(
    tmp_path: Path, graph: Graph, embedding: Embedding | None
) -> None:
    write(tmp_path, graph, embedding=embedding)
    with pytest.raises(ArtifactInvalid, match=r"outputs do not fit spec.json"):
        opened(tmp_path)


def test_a_file_that_is_no_network(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "m.onnx").write_bytes(b"no network")
    spec = read_spec(folder)
    variant = spec.variants[0].model_copy(
        update={"sha256": file_sha256(folder / "m.onnx"), "size_bytes": len(b"no network")}
    )
    write_spec(folder, spec.model_copy(update={"variants": (variant,)}))
    with pytest.raises(ArtifactInvalid, match=r"m.onnx: cannot be loaded"):
        opened(tmp_path)


def test_warming_up_runs_every_batch_size(tmp_path: Path, provider: str) -> None:
    write(tmp_path)
    warmth = opened(tmp_path, provider).warm_up(5)
    assert list(warmth.first_s) == ([1, 2, 4, 8] if provider in ON_GPU else [1, 5, 2, 4, 3])
    assert sum(warmth.first_s.values()) <= warmth.total_s


def test_warming_up_stops_when_its_time_is_used(tmp_path: Path) -> None:
    write(tmp_path)
    assert list(opened(tmp_path).warm_up(5, budget_s=0.0).first_s) == [1]


def test_the_way_of_a_gpu_in_the_memory_of_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ON_GPU", {"cpu"})
    monkeypatch.setattr(module, "DEVICE", "cpu")
    monkeypatch.setattr(module, "page_locked", np.zeros)
    write(tmp_path, embedding=EMBEDDING)
    artifact = find_artifact("tiny-filter", tmp_path)
    session = open_session(artifact, provider="cpu", threads=1, gpu=GpuOptions(max_batch_clips=6))
    assert list(session.warm_up(6, budget_s=0.0).first_s) == [1, 2, 4, 6]
    for brightness in ([7], [0, 255], [1, 2, 3], list(range(15))):
        found = session.run(Inputs(clips(*brightness)))
        np.testing.assert_allclose(found.logits, logits_of(*brightness), atol=1e-5)
        assert found.embeddings is not None
        np.testing.assert_allclose(found.embeddings, embeddings_of(*brightness), atol=1e-5)
    session.compute(5)
    assert sum(session.nodes.values()) > 0
    session.close()


def test_a_library_that_does_not_load_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "onnxruntime"
    (package / "capi").mkdir(parents=True)
    (package / "capi" / "libonnxruntime_providers_cuda.so").write_bytes(b"no library")
    monkeypatch.setattr(ort, "__file__", str(package / "__init__.py"))
    assert "libonnxruntime_providers_cuda.so: file too short; install the NVIDIA driver" in (
        module._missing_library("cuda")
    )
    assert module._missing_library("tensorrt") == ""


def test_an_answer_that_is_no_number_is_a_failed_run(tmp_path: Path) -> None:
    write(tmp_path, role="escalation", audio=True)
    session = opened(tmp_path, name="tiny-escalation")
    broken = np.full((1, AUDIO.frames, AUDIO.mels), np.nan, np.float32)
    with pytest.raises(ValueError, match="finite"):
        session.run(joined([Inputs(clips(0), broken)], session.spec))
