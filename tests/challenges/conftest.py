"""Assertions of what is shared between these tests are explained as those of tests are."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("planted")
