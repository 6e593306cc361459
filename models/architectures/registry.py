"""The networks that can be trained, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from models.architectures.audiovisual import AudioVisual, SlowFastTrunk
from models.architectures.audiovisual_fusion import build_frames_lite_av, build_frames_resnet_av
from models.architectures.c3d import build_c3d, build_c3d_global
from models.architectures.cnn_lstm import build_cnn_lstm
from models.architectures.early_exit import build_early_exit
from models.architectures.frame_cnn import build_frames_lite, build_frames_resnet
from models.architectures.i3d import build_i3d, build_i3d_lite
from models.architectures.narrow import narrow
from models.architectures.r2plus1d import R2Plus1D
from models.architectures.r2plus1d_lite import R2Plus1DLite
from models.architectures.slowfast import SlowFast, SlowFastConfig
from models.architectures.slowfast_lite import SlowFastLite
from models.architectures.sound import build_audio_log_mel, build_audio_mfcc, build_audio_waveform
from models.architectures.timesformer import build_timesformer
from models.architectures.two_stream import build_two_stream
from models.architectures.videomae import build_videomae
from models.architectures.vivit import build_vivit
from models.spec import VideoInput

Arguments = Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """``build(video, labels, **arguments)`` gives the network; if it ``hears`` it also takes sound."""

    build: Callable[..., nn.Module]
    hears: bool = False
    sees: bool = True  # False: it takes clips and does not look at them
    flow: bool = False  # it also takes optical flow
    sound: str = "log_mel"  # form in which it takes sound
    exits: bool = False  # its logits are (N, exits, labels), from the first exit to the last

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of what ``forward`` takes, in order."""
        flow = ("flow",) if self.flow else ()
        return ("clips", *flow, self.sound, "has_audio") if self.hears else ("clips", *flow)


def _r2plus1d(video: VideoInput, labels: int, depth: int = 18, width: int = 64, **rest: Any) -> nn.Module:
    return R2Plus1D(depth, width, labels, **rest)


def _r2plus1d_lite(video: VideoInput, labels: int, **rest: Any) -> nn.Module:
    return R2Plus1DLite(video, labels, **rest)


def _slowfast(video: VideoInput, labels: int, dropout: float = 0.5, **shape: int) -> nn.Module:
    return SlowFast(_slowfast_shape(video, shape), labels, dropout)


def _slowfast_av(
    video: VideoInput, labels: int, dropout: float = 0.5, sound_dropout: float = 0.5, **shape: int
) -> nn.Module:
    trunk = SlowFastTrunk(SlowFast(_slowfast_shape(video, shape), labels))
    return AudioVisual(trunk, labels, dropout, sound_dropout)


def _slowfast_lite_av(
    video: VideoInput, labels: int, dropout: float = 0.5, sound_dropout: float = 0.5, **trunk: Any
) -> nn.Module:
    return AudioVisual(SlowFastLite(video, **trunk), labels, dropout, sound_dropout)


def _slowfast_shape(video: VideoInput, shape: Mapping[str, int]) -> SlowFastConfig:
    config = SlowFastConfig(**shape)
    if video.frames % config.alpha:
        raise ValueError(f"frames {video.frames} must be a multiple of alpha {config.alpha}")
    return config


FAMILIES: Mapping[str, Family] = {
    "frames_resnet": Family(build_frames_resnet),
    "frames_lite": Family(build_frames_lite),
    "cnn_lstm": Family(build_cnn_lstm),
    "c3d": Family(build_c3d),
    "c3d_global": Family(build_c3d_global),
    "i3d": Family(build_i3d),
    "i3d_lite": Family(build_i3d_lite),
    "two_stream": Family(build_two_stream, flow=True),
    "timesformer": Family(build_timesformer),
    "vivit": Family(build_vivit),
    "videomae": Family(build_videomae),
    "early_exit": Family(build_early_exit, exits=True),
    "audio_log_mel": Family(build_audio_log_mel, hears=True, sees=False),
    "audio_mfcc": Family(build_audio_mfcc, hears=True, sees=False),
    "audio_waveform": Family(build_audio_waveform, hears=True, sees=False, sound="waveform"),
    "frames_resnet_av": Family(build_frames_resnet_av, hears=True),
    "frames_lite_av": Family(build_frames_lite_av, hears=True),
    "r2plus1d": Family(_r2plus1d),
    "r2plus1d_lite": Family(_r2plus1d_lite),
    "slowfast": Family(_slowfast),
    "slowfast_av": Family(_slowfast_av, hears=True),
    "slowfast_lite_av": Family(_slowfast_lite_av, hears=True),
}


def build(name: str, arguments: Arguments, video: VideoInput, labels: int) -> nn.Module:
    """A network with fresh weights for this input. Raises ValueError for an unknown name or argument.

    Every family also takes ``widths``, those inside of its blocks, as pruning leaves them (``narrow``).
    """
    if name not in FAMILIES:
        raise ValueError(f"unknown architecture {name!r}, known: {', '.join(sorted(FAMILIES))}")
    shape = {key: value for key, value in arguments.items() if key != "widths"}
    try:
        network = FAMILIES[name].build(video, labels, **shape)
        if "widths" in arguments:
            narrow(network, arguments["widths"])
        return network
    except TypeError as error:
        raise ValueError(f"architecture {describe(name, arguments)}: {error}") from error


def describe(name: str, arguments: Arguments) -> str:
    """For example ``r2plus1d(depth=10, width=24)``; travels in the specification."""
    return f"{name}({', '.join(f'{key}={value}' for key, value in arguments.items())})"
