"""Adding baselines to the report of a finished run, without measuring anything else again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spotify_engine.config import dump_yaml
from spotify_engine.errors import InputError, hint
from spotify_engine.playlists.measure.leaderboard import BASELINES
from spotify_engine.playlists.settings import KaggleJob
from spotify_engine.runtime.pipelines.audit import open_finished
from spotify_engine.runtime.pipelines.baselines import Baselines
from spotify_engine.runtime.pipelines.measuring import findings_in_words
from spotify_engine.runtime.pipelines.playlists import PlaylistPipeline
from spotify_engine.runtime.pipelines.run import Run
from spotify_engine.store.atomic import write_text
from spotify_engine.strict_json import to_json
from spotify_engine.watching import Watch


def add_baselines(folder: Path, names: Sequence[str], watch: Watch) -> list[str]:
    """Fit and measure baselines that a finished playlist run lacks, and tell of them in its report.

    ``report.json``, its pictures, ``config.yaml`` and ``stages.json`` are then as if the run had
    measured them from the beginning.

    Args:
        names: of baselines; those that the report has are passed over.
        watch: is told of each that is fitted.

    Returns:
        Names of those that were added.

    Raises:
        InputError: there is no such baseline, or the run is of sessions or not finished.
    """
    for name in names:
        if name not in BASELINES:
            raise InputError(f"--baselines {name}: no such baseline; {hint(name, BASELINES)}")
    report, config = open_finished(folder)
    if not isinstance(config, KaggleJob):
        raise InputError(
            f"{folder}: a run of sessions, which always measures all baselines; leave out "
            "--baselines"
        )
    new = [name for name in dict.fromkeys(names) if name not in report["baselines"]]
    if not new:
        return []
    run = Run(folder, config)
    baselines = (*config.evaluation.baselines, *new)
    evaluation = config.evaluation.model_copy(update={"baselines": baselines})
    for row in Baselines(folder, evaluation).fitted_here(new, watch):
        report["baselines"][row.name] = row.report()
        if row.breakdown is not None:
            report["breakdown"][row.name] = row.breakdown
    measured = run.stages["evaluate"]["result"]
    measured |= {part: report[part] for part in ("baselines", "breakdown")}
    run.replace_result("evaluate", measured)
    config = config.model_copy(update={"evaluation": evaluation})
    report |= {
        "config": config.model_dump(mode="json"),
        "in_words": findings_in_words(measured, evaluation),
    }
    write_text(folder / "config.yaml", dump_yaml(config))
    write_text(folder / "report.json", to_json(report))
    PlaylistPipeline(run).draw(report)
    return new
