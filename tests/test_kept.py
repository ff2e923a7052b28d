"""Compiled code is kept where this user may write, and run from nobody else's folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.kept import folder_to_keep

ROOT = Path(__file__).parent.parent


def test_it_is_kept_beside_the_source_where_that_can_be_written(tmp_path: Path) -> None:
    assert folder_to_keep(tmp_path, "kernels") == tmp_path / "__pycache__" / "kernels"


def test_a_read_only_installation_keeps_it_in_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source = tmp_path / "source"
    source.write_text("a file, so that no folder can be made in it")

    assert folder_to_keep(source, "kernels") == tmp_path / "cache" / "gpumedic" / "kernels"


def test_a_folder_of_somebody_else_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)

    found = folder_to_keep(tmp_path, "kernels")

    assert found is None


def test_kernels_run_where_nothing_can_be_kept() -> None:
    code = (
        "import core.kept as kept; kept._bases = lambda beside: iter(());"
        "import numpy as np; from detectors.compiled import compiled\n"
        "@compiled\ndef twice(x):\n    return 2 * x\n"
        "print(twice(21.0))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert said.stdout.strip() == "42.0", said.stderr
