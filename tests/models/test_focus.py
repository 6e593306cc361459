"""The windows lie where something moves, whatever else the picture does."""

import pytest
import torch
from torch import Tensor

from models.architectures.focus import CELLS, Focus
from models.spec import VideoInput

VIDEO = VideoInput(frames=4, frame_rate_hz=8, height=128, width=128)


def scene(corner: tuple[int, int], side: int = 16, flicker: float = 0.0) -> Tensor:
    """(1, 3, 4, 128, 128): a textured picture; in a square at (x, y) a checkerboard that turns over."""
    x, y = corner
    rows, columns = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    frames = (((rows + columns) % 32) / 32).repeat(1, 3, 4, 1, 1)
    board = ((rows[:side, :side] // 4 + columns[:side, :side] // 4) % 2).float()
    for time in range(4):
        frames[:, :, time] += flicker * (time % 2)
        frames[:, :, time, y : y + side, x : x + side] = board if time % 2 else 1 - board
    return frames


@pytest.mark.parametrize("corner", [(0, 0), (112, 0), (48, 64), (100, 112)])
@pytest.mark.parametrize("flicker", [0.0, 0.3])
def test_the_window_holds_what_moves(corner: tuple[int, int], flicker: float) -> None:
    """A lamp that flickers changes the whole picture, and is not what is looked for."""
    frames = scene(corner, flicker=flicker)
    (energy,) = Focus(VIDEO, [0.25]).motion_energy(frames)
    (window,) = Focus(VIDEO, [0.25], 32)(frames)
    inside = (slice(corner[1] // 4, corner[1] // 4 + 4), slice(corner[0] // 4, corner[0] // 4 + 4))
    assert energy[0][inside].sum() / energy.sum() > 0.9
    changes = (window[:, 1:] - window[:, :-1]).abs().mean((0, 1)) > 0.6  # the square: 16 of 32 pixels
    assert changes.sum() == pytest.approx(256, abs=40)


def test_a_window_is_the_picture_at_its_place() -> None:
    """Half of the picture at half of its size: pixel for pixel, as the window lies on whole cells."""
    frames = scene((96, 96), side=32)
    (window,) = Focus(VIDEO, [0.5], 64)(frames)
    torch.testing.assert_close(window, frames[0, :, :, 64:, 64:], atol=1e-5, rtol=0)


def test_views_come_in_order_and_the_whole_picture_as_it_is() -> None:
    frames = torch.cat((scene((0, 0)), scene((112, 112))))
    views = Focus(VIDEO, [1.0, 0.5])(frames)
    assert views.shape == (4, 3, 4, 128, 128)
    assert torch.equal(views[:2], frames)
    alone = Focus(VIDEO, [0.5])(frames[1:])
    torch.testing.assert_close(views[3:], alone)


def test_still_pictures_have_no_motion() -> None:
    assert (
        Focus(VIDEO, [0.5]).motion_energy(torch.rand(1, 3, 1, 128, 128).expand(2, 3, 4, 128, 128)).sum() == 0
    )


@pytest.mark.parametrize(
    ("video", "shares", "message"),
    [
        (VIDEO, [], r"views \[\] must be shares"),
        (VIDEO, [1.5], r"views \[1.5\] must be shares of the picture, above 0 and at most 1"),
        (VIDEO.model_copy(update={"width": 100}), [0.5], f"100x128 pixels must be a multiple of {CELLS}"),
    ],
)
def test_what_cannot_be_looked_at_is_named(video: VideoInput, shares: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Focus(video, shares)
