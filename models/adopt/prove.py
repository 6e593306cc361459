"""Runs the foreign file as it is, frame by frame, and holds the artifact against it.

The arithmetic is done a second time, in NumPy and one frame or clip at a time, so that a mistake of the
wrapping, a batch that leaks into its neighbours and a provider that computes something else show.
It cannot show that a description is wrong: compare some scores with the network's own tools.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from models.adopt.description import Description, Refused
from models.adopt.wrap import Interface, wanted_shape

TOLERANCE = 2e-3  # largest difference of a probability; half precision stays below

Clips = npt.NDArray[np.uint8]  # (N, T, H, W, 3), RGB
Scores = npt.NDArray[np.float64]


class Foreign:
    """The file as it came, on ONNX Runtime's reference provider."""

    def __init__(self, path: Path, description: Description, interface: Interface) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        self._description = description
        self._interface = interface
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no common base but Exception
            raise Refused(f"{path}: ONNX Runtime cannot load it: {error}") from error

    def classes(self) -> int:
        """How many scores the network gives to a blank input; every label must be among them."""
        classes = int(self.scores(blank(self._description)).shape[1])
        for label in self._description.labels:
            if max(label.outputs) >= classes:
                raise Refused(
                    f"label {label.name}: output {max(label.outputs)} does not exist; the network gives "
                    f"{classes} scores, accepted: 0 to {classes - 1}"
                )
        return classes

    def scores(self, clips: Clips) -> Scores:
        """(N, classes) of a network of clips, (N * T, classes) of one of frames; one run for each."""
        return np.concatenate([self._run(value[None]) for value in network_input(clips, self._description)])

    def probabilities(self, clips: Clips) -> Scores:
        """(N, L): what the artifact has to say of these clips, before calibration."""
        description = self._description
        values = by_label(self.scores(clips), description)
        if description.takes_clips:
            return values
        frames = values.reshape(len(clips), description.video.frames, -1)
        return np.asarray(frames.max(axis=1) if description.pool == "max" else frames.mean(axis=1))

    def _run(self, value: npt.NDArray[np.float32]) -> Scores:
        interface = self._interface
        feed = {interface.input_name: np.ascontiguousarray(value.astype(interface.input_dtype))}
        try:
            (scores,) = self._session.run([interface.output_name], feed)
        except Exception as error:
            raise Refused(f"the network does not run on an input of shape {value.shape}: {error}") from error
        found = np.asarray(scores, np.float64)
        if found.ndim == 0 or len(found) != 1:
            raise Refused(f"one input gave scores of shape {found.shape}; expected (1, classes)")
        return found.reshape(1, -1)


def network_input(clips: Clips, description: Description) -> npt.NDArray[np.float32]:
    """Clips as the network takes them, by the letter of the description."""
    wants, video = description.input, description.video
    height, width = description.input_size
    top, left = (video.height - height) // 2, (video.width - width) // 2
    pixels = clips[:, :, top : top + height, left : left + width].astype(np.float64)
    if wants.channels == "BGR":
        pixels = pixels[..., ::-1]
    pixels = (pixels * wants.scale - np.array(wants.mean)) / np.array(wants.std)
    axes = "NTHWC"
    if not description.takes_clips:
        pixels, axes = pixels.reshape(-1, height, width, 3), "NHWC"
    ordered = pixels.transpose([axes.index(axis) for axis in wants.layout])
    assert ordered.shape[1:] == wanted_shape(description)[1:]
    return np.asarray(ordered, np.float32)


def by_label(scores: Scores, description: Description) -> Scores:
    """(M, classes) to the probabilities (M, L)."""
    kind = description.output.scores
    if kind == "logits":
        scores = 1.0 / (1.0 + np.exp(-scores))
    elif kind == "softmax_logits":
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores = scores / scores.sum(axis=1, keepdims=True)
    if kind in ("sigmoid", "softmax") and not ((scores >= -1e-3) & (scores <= 1.001)).all():
        raise Refused(
            f"output.scores says {kind}, but scores lie between {scores.min():.4g} and {scores.max():.4g}: "
            f"they are no probabilities; perhaps {'logits' if kind == 'sigmoid' else 'softmax_logits'}"
        )
    if kind == "softmax" and np.abs(scores.sum(axis=1) - 1.0).max() > 1e-2:
        raise Refused(
            f"output.scores says softmax, but the scores of one input add up to {scores.sum(axis=1)[0]:.4g}; "
            "perhaps sigmoid"
        )
    return np.stack([scores[:, list(label.outputs)].sum(axis=1) for label in description.labels], axis=1)


def blank(description: Description) -> Clips:
    return np.zeros((1, *description.video.clip_shape), np.uint8)


def examples(description: Description) -> Clips:
    """Clips that differ from each other and from frame to frame: noise, flat colours, a ramp."""
    shape = description.video.clip_shape
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, shape, np.uint8)
    colours = np.broadcast_to(random.integers(0, 256, (shape[0], 1, 1, 3), np.uint8), shape)
    ramp = np.broadcast_to(np.linspace(0, 255, shape[2]).astype(np.uint8)[None, None, :, None], shape)
    return np.stack([noise, colours, ramp])


def check_agreement(expected: Scores, found: npt.NDArray[np.floating]) -> float:
    """Largest difference of a probability. Raises Refused above the tolerance."""
    worst = float(np.abs(expected - found).max())
    if not worst <= TOLERANCE:
        raise Refused(
            f"the wrapped network differs from the file by up to {worst:.4f} in probability, allowed is "
            f"{TOLERANCE}: perhaps its batch is fixed inside, export it with a free batch dimension"
        )
    return worst
