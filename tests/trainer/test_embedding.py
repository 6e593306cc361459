"""Embeddings are exported beside the logits, change nothing about these, and survive quantisation."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

from models.architectures import registry
from models.spec import VideoInput
from tests.trainer.small import batch, network
from trainer.calibrate import Calibration
from trainer.config import Gate, Quantise
from trainer.data.dataset import Batch
from trainer.distill import with_head_input
from trainer.embedding import with_embedding
from trainer.export import (
    EMBEDDING,
    OUTPUT,
    GateClosed,
    check_parity,
    embedding_size,
    export_onnx,
    feed,
    onnx_embeddings,
    session,
)
from trainer.quantize import check_agreement
from trainer.variants import export_variants

VIDEO = VideoInput(frames=4, frame_rate_hz=8, height=64, width=64)
FEATURES = 64
AGREE = [Calibration(temperature=1.0, bias=0.0)]
LENIENT = Gate(int8_probability=1.0, int8_agreement=0.0, int8_embedding=0.5)


def small(seed: int = 0) -> nn.Module:
    """With statistics in the head's norm that differ from channel to channel, as after training."""
    torch.manual_seed(seed)
    net = registry.build("frames_resnet", {"depth": 10, "width": 8}, VIDEO, 1)
    head = net.head
    torch.nn.init.uniform_(head.norm.running_mean, -8, -4)  # type: ignore[union-attr, arg-type]
    torch.nn.init.uniform_(head.norm.running_var, 0.2, 3)  # type: ignore[union-attr, arg-type]
    torch.nn.init.uniform_(head.norm.weight, 0, 5)  # type: ignore[union-attr, arg-type]
    return net.eval()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("embedding") / "net.onnx"
    export_onnx(small(), batch(0, VIDEO), path, embedding=True)
    return path


@pytest.fixture(scope="module")
def plain(file: Path) -> Path:
    """The same without the second output."""
    model = onnx.load(file)
    del model.graph.output[1]
    path = file.with_name("plain.onnx")
    onnx.save(model, path)
    return path


def test_it_is_what_the_head_is_given_standardised_and_of_length_1(file: Path) -> None:
    net, clips = small(), batch(1, VIDEO)
    logits, embedding = session(file).run([OUTPUT, EMBEDDING], dict(feed(clips)))
    with torch.inference_mode():
        _, features = with_head_input(net, clips)
        norm = net.head.norm
        standardised = (features - norm.running_mean) / torch.sqrt(norm.running_var + norm.eps)  # type: ignore
        expected = functional.normalize(standardised).numpy()
        np.testing.assert_allclose(logits, net(clips.inputs["clips"]).numpy(), atol=1e-3)
    assert embedding.shape == (4, FEATURES)
    np.testing.assert_allclose(embedding, expected, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1.0, atol=1e-5)


def test_a_network_that_judges_motion_answers_with_appearance(tmp_path: Path) -> None:
    """What stands still has no motion, and still is something to be found by."""
    torch.manual_seed(0)
    net = registry.build("r2plus1d_lite", {"stages": [0, 1]}, VIDEO, 1).eval()
    still = torch.rand(2, 1, 64, 64, 3).mul(255).to(torch.uint8).expand(2, 4, 64, 64, 3).contiguous()
    clips = Batch({"clips": still}, torch.zeros(2, 1), np.zeros(2, np.int64))
    export_onnx(net, clips, tmp_path / "net.onnx", embedding=True)
    logits, embedding = session(tmp_path / "net.onnx").run([OUTPUT, EMBEDDING], dict(feed(clips)))
    assert logits[0] == pytest.approx(logits[1], abs=1e-3)
    assert embedding.shape == (2, 80)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1.0, atol=1e-5)
    assert embedding[0] @ embedding[1] < 0.999


def test_its_size_is_read_from_the_file(file: Path, plain: Path) -> None:
    assert embedding_size(file) == FEATURES
    assert embedding_size(plain) is None


def test_parity_looks_at_it(file: Path) -> None:
    assert check_parity(small(), file, [batch(1, VIDEO)], 1e-3) <= 1e-3
    norm = (other := small()).head.norm
    scale = torch.linspace(0.1, 2, FEATURES)
    norm.running_var.mul_(scale**2)  # type: ignore[union-attr, operator]
    norm.weight.data.mul_(scale)  # type: ignore[union-attr, operator]
    with pytest.raises(GateClosed, match="embedding differ from torch"):  # and its logits are the same
        check_parity(other, file, [batch(1, VIDEO)], 1e-3)


def test_every_variant_has_it_and_int8_must_agree(file: Path, tmp_path: Path) -> None:
    feeds = [feed(batch(seed, VIDEO)) for seed in range(3)]
    files = export_variants(file, tmp_path, feeds, Quantise())
    reference = np.concatenate(onnx_embeddings(file, feeds))
    for name, variant in files.items():
        assert embedding_size(variant) == FEATURES, name
        found = np.concatenate(onnx_embeddings(variant, feeds))
        assert (found * reference).sum(axis=1).mean() > 0.9, name
    cosine = check_agreement(file, files["int8"], feeds, AGREE, LENIENT).embedding_cosine
    assert cosine is not None
    assert 0.9 < cosine < 1.0


def test_embeddings_that_do_not_survive_close_the_gate(file: Path, tmp_path: Path) -> None:
    model = onnx.load(file)
    producer = next(node for node in model.graph.node if EMBEDDING in node.output)
    producer.output[0] = "turned_round"
    model.graph.node.append(onnx.helper.make_node("Neg", ["turned_round"], [EMBEDDING]))
    onnx.save(model, tmp_path / "broken.onnx")
    with pytest.raises(GateClosed, match=r"cosine of -1.000 in the mean \(wanted 0.5\)"):
        check_agreement(file, tmp_path / "broken.onnx", [feed(batch(0, VIDEO))], AGREE, LENIENT)


def test_a_network_without_them_is_not_asked(plain: Path) -> None:
    assert check_agreement(plain, plain, [feed(batch(0, VIDEO))], AGREE, LENIENT).embedding_cosine is None


def test_a_network_without_a_head_that_standardises_is_refused() -> None:
    with pytest.raises(ValueError, match=r"R2Plus1D has no embedding: .*LinearHead.*`embedding: false`"):
        with_embedding(network(0))
