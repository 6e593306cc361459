"""The log-mel spectrogram: scale, alignment, silence."""

import numpy as np
import numpy.typing as npt
import pytest

from models.preprocess import log_mel
from models.spec import AudioInput

AUDIO = AudioInput(frames=100)


def tone(hz: float, seconds: float, level: float = 1.0) -> npt.NDArray[np.float32]:
    times_s = np.arange(round(seconds * AUDIO.sample_rate_hz)) / AUDIO.sample_rate_hz
    return (level * np.sin(2 * np.pi * hz * times_s)).astype(np.float32)


@pytest.mark.parametrize("samples", [0, 1, 16_000])
def test_silence_is_minus_one_exactly(samples: int) -> None:
    spectrogram = log_mel(np.zeros(samples, np.float32), 0.0, AUDIO)
    assert spectrogram.shape == (100, 64)
    assert spectrogram.dtype == np.float32
    assert (spectrogram == -1.0).all()


@pytest.mark.parametrize(("level", "peak"), [(1.0, 1.0), (0.1, 0.6), (0.01, 0.2)])
def test_full_scale_is_one_and_20_db_are_0_4(level: float, peak: float) -> None:
    spectrogram = log_mel(tone(1000.0, 1.0, level), 0.0, AUDIO)
    assert spectrogram[50].max() == pytest.approx(peak, abs=0.02)


def test_higher_tones_lie_in_higher_bands() -> None:
    bands = [int(log_mel(tone(hz, 1.0), 0.0, AUDIO)[50].argmax()) for hz in (200.0, 1000.0, 3000.0, 7000.0)]
    assert bands == sorted(set(bands))


def test_frames_are_centred_half_a_hop_after_the_start() -> None:
    click = np.zeros(16_000, np.float32)
    click[8_000] = 1.0  # at 0.5 s
    loudest = log_mel(click, 0.4, AUDIO).max(axis=1)
    # From 0.4 s on, frame i is centred at 0.405 s + i * 10 ms: 0.5 s lies between frames 9 and 10.
    assert loudest[9] == pytest.approx(loudest[10], abs=0.01)
    assert loudest[9] > loudest[8]
    assert loudest[7] == -1.0


def test_outside_of_the_recording_is_silence() -> None:
    spectrogram = log_mel(tone(1000.0, 0.5), 0.0, AUDIO)
    assert (spectrogram[52:] == -1.0).all()
    assert (log_mel(tone(1000.0, 0.5), -5.0, AUDIO) == -1.0).all()


def test_a_clip_is_a_part_of_the_whole() -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, 32_000).astype(np.float32)
    whole = log_mel(noise, 0.0, AudioInput(frames=200))
    part = log_mel(noise, 0.5, AudioInput(frames=100))
    np.testing.assert_allclose(part, whole[50:150], atol=1e-5)


def test_stereo_is_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(S,\)"):
        log_mel(np.zeros((2, 100), np.float32), 0.0, AUDIO)
