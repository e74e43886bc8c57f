"""``--help`` of every job: at once, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

JOBS = sorted((Path(__file__).parents[2] / "jobs").glob("*.py"))
# One process for all: starting Python for each would take longer than the rest.
ASK = """
import runpy, sys
from pathlib import Path
for job in sys.argv[1:]:
    sys.path[0], sys.argv = str(Path(job).parent), [job, "--help"]
    try:
        runpy.run_path(job, run_name="__main__")
    except SystemExit as end:
        print("ended with", end.code)
print("slow to import:", sorted({"ray", "torch", "mlflow"} & set(sys.modules)))
"""


def test_help_is_all_that_help_does(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", ASK, *map(str, JOBS)],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert len(JOBS) >= 13
    for job in JOBS:
        assert found.stdout.count(f"usage: {job.name}") == 1
    assert found.stdout.count("ended with 0\n") == len(JOBS)
    assert found.stdout.endswith("slow to import: []\n")
    assert list(tmp_path.iterdir()) == []


def test_the_demo_takes_no_flags(capsys: pytest.CaptureFixture[str]) -> None:
    import demo

    with pytest.raises(SystemExit) as end:
        demo.main(["--mode", "full"])
    assert end.value.code == 2
    assert "unrecognized arguments: --mode full" in capsys.readouterr().err
