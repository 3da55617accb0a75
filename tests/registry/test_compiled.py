"""What is cached of a kernel goes stale when a source of another kernel changes that it calls."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CALLED = """
from registry.compiled import inner
from numbers_of import OFFSET

@inner
def shifted(x):
    return x + OFFSET * {factor}
"""
CALLS = """
from registry.compiled import entry_point, is_cached
from called import shifted

@entry_point
def twice(x):
    return 2 * shifted(x)

print(is_cached(twice), twice(1), is_cached(twice))
"""


def run(folder: Path, factor: int, offset: int) -> str:
    (folder / "numbers_of.py").write_text(f"OFFSET = {offset}\n")
    (folder / "called.py").write_text(CALLED.format(factor=factor))
    (folder / "calls.py").write_text(CALLS)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), str(Path.cwd())])
    done = subprocess.run([sys.executable, "-m", "calls"], capture_output=True, text=True, env=environment)
    assert not done.returncode, done.stderr
    return done.stdout.strip()


def test_a_change_of_a_called_kernel_or_of_its_numbers_is_noticed(tmp_path: Path) -> None:
    assert run(tmp_path, factor=1, offset=1) == "False 4 True"
    assert run(tmp_path, factor=1, offset=1) == "True 4 True"
    assert run(tmp_path, factor=3, offset=1) == "False 8 True"
    assert run(tmp_path, factor=3, offset=2) == "False 14 True"
