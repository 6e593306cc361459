"""What goes into an engine, and the two narrow protocols around it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models.spec import ModelSpec

# A clip without sound gets the spectrogram of digital silence (see models.preprocess) and has_audio 0.
SILENCE = -1.0

Logits = npt.NDArray[np.float32]  # (N, L)
Probabilities = npt.NDArray[np.float32]  # (N, L), calibrated
Embeddings = npt.NDArray[np.float32]  # (N, E), each of length 1


@dataclass(frozen=True, slots=True)
class Inputs:
    """Clips of one upload, or of several that are batched together."""

    clips: npt.NDArray[np.uint8] = field(repr=False)  # (N, T, H, W, 3), RGB
    log_mel: npt.NDArray[np.float32] | None = field(default=None, repr=False)  # (N, frames, mels)
    has_audio: npt.NDArray[np.float32] | None = field(default=None, repr=False)  # (N,), 1.0 where heard

    def __post_init__(self) -> None:
        count = len(self.clips)
        for name, array in (("log_mel", self.log_mel), ("has_audio", self.has_audio)):
            if array is not None and len(array) != count:
                raise ValueError(f"{count} clips, but {name} has {len(array)}")

    def __len__(self) -> int:
        return len(self.clips)

    def cut(self, start: int, stop: int) -> Inputs:
        """Clips [start, stop), without a copy."""
        return Inputs(
            self.clips[start:stop],
            None if self.log_mel is None else self.log_mel[start:stop],
            None if self.has_audio is None else self.has_audio[start:stop],
        )


@dataclass(frozen=True, slots=True)
class Output:
    """What a network gives for a batch of N clips."""

    logits: Logits = field(repr=False)
    embeddings: Embeddings | None = field(default=None, repr=False)  # None: the network has none


@dataclass(frozen=True, slots=True)
class Answer:
    """What an engine makes of it for one caller, in the order of the clips."""

    probabilities: Probabilities = field(repr=False)
    embeddings: Embeddings | None = field(default=None, repr=False)

    def cut(self, start: int, stop: int) -> Answer:
        """Clips [start, stop), without a copy."""
        embeddings = None if self.embeddings is None else self.embeddings[start:stop]
        return Answer(self.probabilities[start:stop], embeddings)

    @staticmethod
    def joined(parts: list[Answer]) -> Answer:
        embeddings = [part.embeddings for part in parts if part.embeddings is not None]
        return Answer(
            np.concatenate([part.probabilities for part in parts]),
            np.concatenate(embeddings) if embeddings else None,
        )


class Runner(Protocol):
    """A model that is loaded. Used by one thread only."""

    @property
    def spec(self) -> ModelSpec: ...

    def run(self, inputs: Inputs) -> Output:
        """One batch through the network. Any exception means that this batch failed."""
        ...


class EngineEvents(Protocol):
    """What an engine tells of itself; telemetry listens. Called on its owner thread: return at once."""

    def batch_closed(self, model: str, clips: int, why: str, run_s: float) -> None: ...

    def queue_changed(self, model: str, clips: int) -> None: ...


class Silent:
    """EngineEvents that nobody listens to."""

    def batch_closed(self, model: str, clips: int, why: str, run_s: float) -> None:
        pass

    def queue_changed(self, model: str, clips: int) -> None:
        pass


def joined(parts: list[Inputs], spec: ModelSpec) -> Inputs:
    """Parts as one batch. Sound is completed with silence where the model wants it and a part has none."""
    clips = parts[0].clips if len(parts) == 1 else np.concatenate([part.clips for part in parts])
    if spec.audio is None:
        return Inputs(clips)
    shape = (spec.audio.frames, spec.audio.mels)
    log_mels = [
        np.full((len(part), *shape), SILENCE, np.float32) if part.log_mel is None else part.log_mel
        for part in parts
    ]
    heard = [_has_audio(part) for part in parts]
    return Inputs(clips, np.concatenate(log_mels), np.concatenate(heard))


def _has_audio(part: Inputs) -> npt.NDArray[np.float32]:
    if part.has_audio is not None:
        return part.has_audio
    return np.full(len(part), 0.0 if part.log_mel is None else 1.0, np.float32)


def blank_inputs(spec: ModelSpec, clips: int) -> Inputs:
    """Black and silent clips: to warm up with, and to tell a broken model from a bad input."""
    return joined([Inputs(np.zeros((clips, *spec.video.clip_shape), np.uint8))], spec)
