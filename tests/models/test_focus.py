"""The windows lie where something moves, whatever else the picture does."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.architectures.focus import CELLS, LUMA, Focus
from models.architectures.frames import LITE, NormaliseClips
from models.spec import VideoInput

VIDEO = VideoInput(frames=4, frame_rate_hz=8, height=128, width=128)


def focus(shares: list[float], size: int = 0, video: VideoInput = VIDEO) -> Focus:
    return Focus(video, shares, size, NormaliseClips(LITE))


def scene(corner: tuple[int, int], side: int = 16, flicker: float = 0.0) -> Tensor:
    """(1, 4, 128, 128, 3) uint8: a textured picture; in a square at (x, y) a checkerboard that turns over."""
    x, y = corner
    rows, columns = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    frames = 0.7 * (((rows + columns) % 32) / 32).repeat(1, 3, 4, 1, 1)
    board = ((rows[:side, :side] // 4 + columns[:side, :side] // 4) % 2).float()
    for time in range(4):
        frames[:, :, time] += flicker * (time % 2)
        frames[:, :, time, y : y + side, x : x + side] = board if time % 2 else 1 - board
    return (255 * frames).round().to(torch.uint8).permute(0, 2, 3, 4, 1)


@pytest.mark.parametrize("corner", [(0, 0), (112, 0), (48, 64), (100, 112)])
@pytest.mark.parametrize("flicker", [0.0, 0.3])
def test_the_window_holds_what_moves(corner: tuple[int, int], flicker: float) -> None:
    """A lamp that flickers changes the whole picture, and is not what is looked for."""
    frames = scene(corner, flicker=flicker)
    (energy,) = focus([0.25]).motion_energy(frames)
    (window,) = focus([0.25], 32)(frames)
    inside = (slice(corner[1] // 4, corner[1] // 4 + 4), slice(corner[0] // 4, corner[0] // 4 + 4))
    assert energy[0][inside].sum() / energy.sum() > 0.9
    changes = (window[:, 1:] - window[:, :-1]).abs().mean((0, 1)) > 0.9  # the square: 16 of 32 pixels
    assert changes.sum() == pytest.approx(256, abs=40)


def test_a_window_is_the_picture_at_its_place() -> None:
    """Half of the picture at half of its size: pixel for pixel, as the window lies on whole cells."""
    frames = scene((96, 96), side=32)
    (window,) = focus([0.5], 64)(frames)
    assert torch.equal(window, NormaliseClips(LITE)(frames)[0, :, :, 64:, 64:])


def test_views_come_in_order_and_the_whole_picture_as_it_is() -> None:
    frames = torch.cat((scene((0, 0)), scene((112, 112))))
    views = focus([1.0, 0.5])(frames)
    assert views.shape == (4, 3, 4, 128, 128)
    assert torch.equal(views[:2], NormaliseClips(LITE)(frames))
    alone = focus([0.5])(frames[1:])
    torch.testing.assert_close(views[3:], alone)


def test_still_pictures_have_no_motion() -> None:
    pictures = torch.randint(0, 256, (2, 1, 128, 128, 3), dtype=torch.uint8)
    assert focus([0.5]).motion_energy(pictures.expand(2, 4, 128, 128, 3)).sum() == 0


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
        focus(shares, video=video)


def test_the_brightness_of_a_cell_is_the_mean_over_its_pixels() -> None:
    """Against the plain way: grey, then an average over each cell's rectangle."""
    video = VideoInput(frames=2, frame_rate_hz=8, height=64, width=96)
    clips = torch.randint(
        0, 256, (3, 2, 64, 96, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    grey = (clips / 127.5 - 1) @ torch.tensor(LUMA)
    cells = functional.avg_pool2d(grey, (2, 3))
    change = (cells[:, 1] - cells[:, 0]).abs().flatten(1)
    expected = functional.relu(change - change.sort(1).values[:, 512:513]).view(3, 1, 32, 32)
    torch.testing.assert_close(focus([0.5], video=video).motion_energy(clips), expected, atol=1e-5, rtol=0)
