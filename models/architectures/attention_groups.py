"""Who attends to whom: how TimeSformer's schemes cut a clip's patches into groups.

A scheme is one or two groupings, one after the other; tokens attend inside their group only. Splitting and
merging are a reshape and a permutation: nothing loops over positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from models.architectures.vit import PatchGrid


@dataclass(frozen=True)
class Grouping:
    """Number of groups along time, height and width.

    ``strided`` False: a group is a block of neighbours; True: every n-th patch of an axis, spread over all.
    """

    frames: int
    rows: int
    columns: int
    strided: bool = False

    @property
    def groups(self) -> int:
        return self.frames * self.rows * self.columns

    def members(self, grid: PatchGrid) -> int:
        """Patches in a group; raises ValueError where an axis does not divide."""
        axes = ((grid.frames, self.frames), (grid.rows, self.rows), (grid.columns, self.columns))
        if any(size % groups for size, groups in axes):
            raise ValueError(f"{grid} does not divide into {self}")
        return grid.patches // self.groups

    def split(self, patches: Tensor, grid: PatchGrid) -> Tensor:
        """(N, frames, rows, columns, D) to (N * groups, members, D)."""
        dimension = patches.shape[4]
        # Each axis becomes (group, member), or (member, group) where strided: 8 axes.
        apart = patches.view(-1, *self._axes(grid), dimension)
        together = apart.permute(0, *self._group_axes, *self._member_axes, 7)
        return together.reshape(-1, self.members(grid), dimension)

    def merge(self, groups: Tensor, grid: PatchGrid) -> Tensor:
        """The inverse of ``split``: (N * groups, members, D) to (N, frames, rows, columns, D)."""
        axes, dimension = self._axes(grid), groups.shape[2]
        order = (*self._group_axes, *self._member_axes)
        apart = groups.reshape(-1, *(axes[axis - 1] for axis in order), dimension)
        back = [1 + order.index(axis) for axis in range(1, 7)]
        return apart.permute(0, *back, 7).reshape(-1, grid.frames, grid.rows, grid.columns, dimension)

    def _axes(self, grid: PatchGrid) -> tuple[int, ...]:
        sizes: list[int] = []
        for size, groups in (
            (grid.frames, self.frames),
            (grid.rows, self.rows),
            (grid.columns, self.columns),
        ):
            sizes += [size // groups, groups] if self.strided else [groups, size // groups]
        return tuple(sizes)

    @property
    def _group_axes(self) -> tuple[int, int, int]:
        return (2, 4, 6) if self.strided else (1, 3, 5)

    @property
    def _member_axes(self) -> tuple[int, int, int]:
        return (1, 3, 5) if self.strided else (2, 4, 6)


@dataclass(frozen=True)
class Step:
    """One attention of a block. ``with_class``: the class token joins every group."""

    grouping: Grouping
    with_class: bool = True

    def pairs(self, grid: PatchGrid) -> int:
        """Pairs of tokens that are compared for one clip and head."""
        return self.grouping.groups * (self.grouping.members(grid) + self.with_class) ** 2


def schemes(grid: PatchGrid) -> Mapping[str, tuple[Step, ...]]:
    """The attentions of one block, by name (Bertasius et al. 2021, figure 2)."""
    return {
        "space": (Step(Grouping(grid.frames, 1, 1)),),
        "joint": (Step(Grouping(1, 1, 1)),),
        "divided": (
            Step(Grouping(1, grid.rows, grid.columns), with_class=False),
            Step(Grouping(grid.frames, 1, 1)),
        ),
        # Quarters of the picture over all frames, then every second patch of each axis over the whole clip.
        "sparse": (Step(Grouping(1, 2, 2)), Step(Grouping(2, 2, 2, strided=True))),
    }


def scheme(name: str, grid: PatchGrid) -> tuple[Step, ...]:
    """Raises ValueError for an unknown name or a grid that does not divide."""
    known = schemes(grid)
    if name not in known:
        raise ValueError(f"unknown attention {name!r}, known: {', '.join(known)}")
    for step in known[name]:
        step.grouping.members(grid)
    return known[name]


def attention_pairs(name: str, grid: PatchGrid) -> int:
    """Pairs of tokens that one block compares for one clip and head: the cost of its attention."""
    return sum(step.pairs(grid) for step in scheme(name, grid))
