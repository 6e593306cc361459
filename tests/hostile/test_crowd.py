"""Good uploads are judged while bad ones pour in; how quickly, `python -m tests.hostile.crowd` measures."""

from __future__ import annotations

import pytest

from tests.hostile.crowd import scenes, serve


@pytest.mark.parametrize("scene", ["mutations", "files over a limit"])
def test_good_uploads_are_judged_while_bad_ones_pour_in(scene: str) -> None:
    served = serve(scenes()[scene], seconds=1.0)
    assert served.judged == len(served.seconds) == 5
    assert served.bad > 0
