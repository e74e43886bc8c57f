"""Recompute the figures of a run's report from the run's files, and compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spotify_engine.cli.flags import new_parser
from spotify_engine.command import STOPPED, job


@job(STOPPED)
def main(argv: Sequence[str] | None = None) -> int:
    flags = new_parser(__doc__, "--run runs/demo")
    flags.add_argument(
        "--run",
        type=Path,
        required=True,
        help="directory of a finished run, of either pipeline (required)",
    )
    flags.add_argument(
        "--no-baselines",
        action="store_true",
        help="leave out fitting the baselines again (fits them)",
    )
    arguments = flags.parse_args(argv)
    from spotify_engine.console import console, say
    from spotify_engine.runtime.audit import audit_run

    audit = audit_run(arguments.run, baselines=not arguments.no_baselines)
    console.print(audit.table)
    console.print(f"Not compared: {', '.join(audit.left_out)}", style="dim", highlight=False)
    for difference in audit.differences:
        say(f"differs from report.json: {difference}", "red")
    if audit.differences:
        return 1
    say(f"All {audit.compared} figures agree with {arguments.run / 'report.json'}.")
    return 0
