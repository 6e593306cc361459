"""Sound as networks take it: the log-mel spectrogram of a clip. NumPy only.

The worker's decoder and the trainer both call it, so that serving and training cannot drift apart.
Video needs nothing here: frames leave the decoder scaled, and normalisation is inside the graph.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from models.spec import AudioInput

Samples = npt.NDArray[np.float32]

# Powers are floored at -100 dB relative to full scale; the log is then mapped so that -100 dB is -1
# and 0 dB is +1. Digital silence and padding are -1 exactly.
FLOOR_DB = -100.0


def log_mel(samples: Samples, start_s: float, audio: AudioInput) -> npt.NDArray[np.float32]:
    """Log-mel spectrogram of the clip that starts at ``start_s``.

    ``samples``: (S,) float32, mono, in [-1, 1], at ``audio.sample_rate_hz``; sample 0 is at 0 s.
    Returns (audio.frames, audio.mels) float32, about -1 (silence) to 1 (full scale).
    Frame i covers the window centred at ``start_s + (i + 0.5) * hop_s``; outside of the recording is silence.
    """
    if samples.ndim != 1:
        raise ValueError(f"samples must have shape (S,), got {samples.shape}")
    windows = _windows(np.asarray(samples, np.float32), start_s, audio)
    power = _power_spectrum(windows)
    mel_power = power @ _mel_filters(audio).T
    decibels = np.maximum(10.0 * np.log10(np.maximum(mel_power, 1e-30)), FLOOR_DB)
    return np.asarray(decibels / (-FLOOR_DB / 2) + 1.0, np.float32)


def _windows(samples: Samples, start_s: float, audio: AudioInput) -> Samples:
    """(frames, window) samples, zero where the recording has none."""
    window = round(audio.window_s * audio.sample_rate_hz)
    centres_s = start_s + (np.arange(audio.frames) + 0.5) * audio.hop_s
    first = np.rint(centres_s * audio.sample_rate_hz).astype(np.int64) - window // 2
    index = first[:, None] + np.arange(window)
    inside = (index >= 0) & (index < samples.shape[0])
    if not inside.any():
        return np.zeros(index.shape, np.float32)
    return np.where(inside, samples[np.where(inside, index, 0)], np.float32(0.0))


def _power_spectrum(windows: Samples) -> Samples:
    """(frames, window) to (frames, bins); a full-scale sine has power 1 at its peak."""
    width = windows.shape[1]
    taper = np.hanning(width).astype(np.float32)
    spectrum = np.fft.rfft(windows * taper, n=_fft_size(width), axis=1)
    return np.asarray((np.abs(spectrum) * (2.0 / taper.sum())) ** 2, np.float32)


def _fft_size(width: int) -> int:
    """The next power of two."""
    return 1 << (width - 1).bit_length()


@lru_cache(maxsize=8)
def _mel_filters(audio: AudioInput) -> Samples:
    """Triangles of unit height (mels, bins), evenly spaced on the mel scale of O'Shaughnessy (1987)."""
    bins = _fft_size(round(audio.window_s * audio.sample_rate_hz)) // 2 + 1
    bin_mel = _mel(np.linspace(0.0, audio.sample_rate_hz / 2, bins))
    edges = np.linspace(_mel(audio.min_hz), _mel(audio.max_hz), audio.mels + 2)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (bin_mel - low) / (centre - low)
    falling = (high - bin_mel) / (high - centre)
    return np.asarray(np.clip(np.minimum(rising, falling), 0.0, None), np.float32)


def _mel(hz: float | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(2595.0 * np.log10(1.0 + np.asarray(hz, np.float64) / 700.0))
