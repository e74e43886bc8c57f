"""A search as one HTML page that needs no other file; Optuna's dashboard is a server of its own."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from spotify_engine.store.atomic import write_text
from spotify_engine.tuning.results import as_text, short_names, values_of
from spotify_engine.tuning.space import Space
from spotify_engine.tuning.trials import Trial, ranked, winner

PLOTS = {
    "history": "Objective over time",
    "parallel": "Parallel coordinates",
    "importance": "Importance of each parameter",
    "pareto": "Quality against training time",
}
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 68rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
img { max-width: 100%; height: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #e5e5e5; }
th { white-space: nowrap; } td.text, th.text { text-align: left; }
tr.best { background: #e8f1fa; } tr.stopped { color: #888; }
tr.failed, tr.out-of-memory { color: #b3261e; }
pre { background: #f5f5f5; padding: 1rem; overflow-x: auto; font-size: .85rem; }
"""


def write_page(
    title: str,
    space: Space,
    trials: Sequence[Trial],
    gain: Mapping[str, Mapping[str, Any]] | None,
    best: str,
    folder: Path,
) -> None:
    """``report.html``, with the pictures that stand beside it in it.

    Args:
        gain: figures of winner and default by part, as ``report.json`` has them; None while the
            search goes on.
        best: the best configuration as YAML; empty if there is none yet.
    """
    ended = [each for each in trials if each.state != "running"]
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{len(ended)} trials, {space.config.method} search over "
        f"{', '.join(escape(key) for key in space.config.space)}.</p>",
    ]
    if gain:
        parts.append(_gain_table(gain))
    for name, heading in PLOTS.items():
        picture = folder / f"{name}.png"
        if picture.exists():
            data = base64.b64encode(picture.read_bytes()).decode()
            parts.append(
                f'<h2>{heading}</h2><img alt="{heading}" src="data:image/png;base64,{data}">'
            )
    parts += ["<h2>Trials</h2>", _trials_table(space, trials)]
    if best:
        parts.append(f"<h2>Best configuration</h2><pre>{escape(best)}</pre>")
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    text = f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>'
    write_text(folder / "report.html", text)


def _gain_table(gain: Mapping[str, Mapping[str, Any]]) -> str:
    rows = "".join(
        f'<tr><td class="text">{escape(part)}</td><td>{each["default"]:.4f}</td>'
        f"<td>{each['winner']:.4f}</td><td>{each['gain']:+.1%}</td></tr>"
        for part, each in gain.items()
    )
    return (
        '<h2>Winner and default</h2><div class="scroll"><table><tr><th class="text">recall@10</th>'
        f"<th>default</th><th>winner</th><th>gain</th></tr>{rows}</table></div>"
    )


def _trials_table(space: Space, trials: Sequence[Trial]) -> str:
    names = short_names(list(space.config.space))
    heads = ["trial", "recall@10", "seconds", "epochs", *names.values()]
    best = winner(trials)
    lines = [
        "<tr>" + "".join(f"<th>{escape(each)}</th>" for each in heads),
        '<th class="text">state</th></tr>',
    ]
    for trial in ranked(trials):
        values = values_of(space, trial)
        cells = [
            trial.name,
            "" if trial.quality is None else f"{trial.quality:.4f}",
            "" if trial.seconds is None else f"{trial.seconds:.1f}",
            str(trial.epochs_done) if trial.epochs else "",
            *(as_text(values[key]) for key in names),
        ]
        kind = "best" if best and trial.number == best.number else trial.state.replace(" ", "-")
        state = f"{trial.state}: {trial.error}" if trial.error else trial.state
        lines.append(
            f'<tr class="{kind}">'
            + "".join(f"<td>{escape(each)}</td>" for each in cells)
            + f'<td class="text">{escape(state)}</td></tr>'
        )
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'
