"""Fixtures that several tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_pipeline import tiny_pipeline


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a `tiny_pipeline`; tests that change files copy it first."""
    import torch

    return tiny_pipeline().save(tmp_path_factory.mktemp("models") / "tiny", torch.float32)
