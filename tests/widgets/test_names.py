"""What `View` does by itself is not replaced by accident: views may override what is public."""

from __future__ import annotations

from types import FunctionType

import pytest

from course_utils import widgets
from course_utils.widgets._base import View


@pytest.mark.parametrize("name", widgets.__all__)
def test_no_view_hides_a_private_name_of_its_base(name: str) -> None:
    view = getattr(widgets, name)
    assert issubclass(view, View)
    theirs = {each for each, value in vars(View).items() if isinstance(value, FunctionType)}
    own = {each for each, value in vars(view).items() if isinstance(value, FunctionType)}
    hidden = {each for each in own & theirs if each.startswith("_") and not each.endswith("__")}
    assert "_in_words" in theirs and not hidden
