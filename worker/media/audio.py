"""The sound of clips as log-mel spectrograms: decoded only around the clips, mono, one rate.

Sound helps a decision, its absence never blocks one: a missing or broken track gives None.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO

import av
import av.container
import numpy as np
import numpy.typing as npt
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.packet import Packet

from models.preprocess import log_mel
from models.spec import AudioInput
from worker.errors import MediaError
from worker.media.allowlist import AUDIO_DECODERS
from worker.media.container import DecodeLimits, decoder_name, foreign_errors, open_media, packets, read_only

Samples = npt.NDArray[np.float32]

MARGIN_S = 0.25  # decoded beyond a clip at each side: the codec's pre-roll and the windows at the ends
RESYNC_S = 0.02  # timestamps that are off by more than this win over counting samples


@dataclass(slots=True)
class _Window:
    """A stretch of the recording that one or more clips need."""

    start_s: float
    end_s: float
    samples: Samples = field(default_factory=lambda: np.zeros(0, np.float32), repr=False)


def clip_log_mels(
    file: BinaryIO, starts_s: tuple[float, ...], audio: AudioInput, origin_s: float, limits: DecodeLimits
) -> npt.NDArray[np.float32] | None:
    """(N, frames, mels) for clips that start at ``starts_s`` after ``origin_s`` on the container's clock."""
    windows = _windows(starts_s, audio)
    if not _heard(file, windows, audio.sample_rate_hz, origin_s, limits):
        return None
    return np.stack([_clip(start_s, windows, audio) for start_s in starts_s])


def record(
    file: BinaryIO, end_s: float, rate_hz: int, origin_s: float, limits: DecodeLimits
) -> Samples | None:
    """(S,) float32 mono in [-1, 1]: the sound from ``origin_s`` on the container's clock, for ``end_s``."""
    window = _window(0.0, end_s, rate_hz)
    return window.samples if _heard(file, [window], rate_hz, origin_s, limits) else None


def _heard(
    file: BinaryIO, windows: list[_Window], rate_hz: int, origin_s: float, limits: DecodeLimits
) -> bool:
    """Decode into the windows. False: there is no sound, or not one sample could be decoded."""
    try:
        with open_media(file, limits) as container:
            stream = _audio_stream(container)
            return stream is not None and _fill(container, stream, windows, rate_hz, origin_s)
    except MediaError:
        return False


def _windows(starts_s: tuple[float, ...], audio: AudioInput) -> list[_Window]:
    """Merged stretches, ascending."""
    windows: list[_Window] = []
    for start_s in starts_s:
        begin_s, end_s = start_s - MARGIN_S, start_s + audio.clip_s + MARGIN_S
        if windows and begin_s <= windows[-1].end_s:
            windows[-1].end_s = max(windows[-1].end_s, end_s)
        else:
            windows.append(_Window(begin_s, end_s))
    return [_window(window.start_s, window.end_s, audio.sample_rate_hz) for window in windows]


def _window(start_s: float, end_s: float, rate_hz: int) -> _Window:
    return _Window(start_s, end_s, np.zeros(round((end_s - start_s) * rate_hz), np.float32))


def _clip(start_s: float, windows: list[_Window], audio: AudioInput) -> npt.NDArray[np.float32]:
    window = next(window for window in windows if window.start_s <= start_s < window.end_s)
    return log_mel(window.samples, start_s - window.start_s, audio)


def _audio_stream(container: av.container.InputContainer) -> AudioStream | None:
    with foreign_errors("find the sound of"):
        for stream in container.streams.audio:
            if decoder_name(stream) in AUDIO_DECODERS and stream.time_base:
                read_only(container, stream)
                stream.codec_context.thread_count = 1
                return stream
    return None


def _fill(
    container: av.container.InputContainer,
    stream: AudioStream,
    windows: list[_Window],
    rate_hz: int,
    origin_s: float,
) -> bool:
    """Decode into the windows. False: not one sample could be decoded."""
    heard = False
    pending = iter(windows)
    window = next(pending)
    recorder = _Recorder(window, rate_hz)
    unit_s = float(stream.time_base or 0)
    for packet in packets(container, stream):
        stamp = packet.pts if packet.pts is not None else packet.dts
        if stamp is not None:
            time_s = stamp * unit_s - origin_s
            while time_s >= window.end_s:
                following = next(pending, None)
                if following is None:
                    return heard
                window = following
                stream.codec_context.flush_buffers()
                recorder = _Recorder(window, rate_hz)
            if time_s + (packet.duration or 0) * unit_s < window.start_s - MARGIN_S:
                continue
        for frame in _decoded(stream, packet):
            heard = True
            with foreign_errors("resample the sound of"):
                recorder.add(frame, unit_s, origin_s)
    return heard


def _decoded(stream: AudioStream, packet: Packet[AudioStream]) -> list[AudioFrame]:
    try:
        with foreign_errors("decode the sound of"):
            return stream.decode(packet)
    except MediaError:
        return []


class _Recorder:
    """Resamples frames and lays them down in a window where their timestamps say."""

    def __init__(self, window: _Window, rate_hz: int) -> None:
        self._window = window
        self._rate_hz = rate_hz
        self._format: tuple[str, str, int] | None = None
        self._resampler = av.AudioResampler()
        self._position: int | None = None  # index of the next sample in the window

    def add(self, frame: AudioFrame, unit_s: float, origin_s: float) -> None:
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form != self._format:  # the first frame, or a track that changes its mind
            self._format = form
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=self._rate_hz)
        if frame.pts is not None:
            place = round((frame.pts * unit_s - origin_s - self._window.start_s) * self._rate_hz)
            if self._position is None or abs(place - self._position) > RESYNC_S * self._rate_hz:
                self._position = place
        for resampled in self._resampler.resample(frame):
            self._lay(np.asarray(resampled.to_ndarray(), np.float32).reshape(-1))

    def _lay(self, samples: Samples) -> None:
        position = self._position or 0
        target = self._window.samples
        first, last = max(0, position), min(target.shape[0], position + samples.shape[0])
        if first < last:
            part = np.nan_to_num(samples[first - position : last - position], posinf=1.0, neginf=-1.0)
            np.clip(part, -1.0, 1.0, out=target[first:last])
        self._position = position + samples.shape[0]
