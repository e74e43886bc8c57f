"""Recompute the figures of a run's report from the run's files, and compare."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from spotify_engine.cli.flags import new_parser
from spotify_engine.cli.output import CSV, add_forms, add_wide, print_csv, print_json
from spotify_engine.command import STOPPED, job


@job(STOPPED)
def main(argv: Sequence[str] | None = None) -> int:
    """Run ``spotify-engine evaluate``; returns the exit status."""
    flags = new_parser(__doc__, "--run runs/demo")
    flags.add_argument(
        "--run",
        type=Path,
        required=True,
        help="directory of a finished run, of either pipeline (required)",
    )
    flags.add_argument(
        "--baselines",
        type=lambda text: [name.strip() for name in text.split(",") if name.strip()],
        default=[],
        metavar="NAMES",
        help="fit these alone again, and add to the report those that it lacks, by commas "
        "(those of the report)",
    )
    flags.add_argument(
        "--no-baselines",
        action="store_true",
        help="do not fit the baselines again (fits them)",
    )
    add_wide(flags)
    add_forms(flags)
    arguments = flags.parse_args(argv)
    from spotify_engine.console import console, say
    from spotify_engine.runtime.pipelines.adding import add_baselines
    from spotify_engine.runtime.pipelines.audit import audit_run
    from spotify_engine.watching import telling

    def tell(line: str) -> None:
        """Beside what other programs read."""
        if arguments.form:
            print(line, file=sys.stderr, flush=True)
        else:
            say(line, "dim")

    watch = telling(tell)
    again: list[str] | None = [] if arguments.no_baselines else None
    if arguments.baselines:
        added = add_baselines(arguments.run, arguments.baselines, watch)
        if added:
            tell(f"Added to {arguments.run / 'report.json'}: {', '.join(added)}.")
        again = [name for name in arguments.baselines if name not in added]
    audit = audit_run(arguments.run, again, arguments.wide, watch)
    if arguments.form == CSV:
        figures = [{"figure": name, "value": value} for name, value in audit.figures.items()]
        print_csv(figures, ("figure", "value"))
    elif arguments.form:
        print_json(
            {
                "agrees": not audit.differences,
                "differences": audit.differences,
                "not_compared": audit.left_out,
                "figures": audit.figures,
            }
        )
    if arguments.form:
        for difference in audit.differences:
            print(f"differs from report.json: {difference}", file=sys.stderr)
        return 1 if audit.differences else 0
    console.print(audit.table)
    say(audit.said)
    console.print(f"Not compared: {', '.join(audit.left_out)}", style="dim", highlight=False)
    for difference in audit.differences:
        say(f"differs from report.json: {difference}", "red")
    if audit.differences:
        return 1
    say(f"All {audit.compared} figures agree with {arguments.run / 'report.json'}.")
    return 0
