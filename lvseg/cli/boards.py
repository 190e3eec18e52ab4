"""What reads results: scores, leaderboard, report."""

from __future__ import annotations

from lvseg.cli.terminal import open_console, require_durable
from lvseg.config import SplitName
from lvseg.errors import ConfigError, LvsegError
from lvseg.leaderboard import Format, View
from lvseg.quiet import import_keras
from lvseg.store import UPath, write_text


def evaluate(
    run: UPath | None,
    records: UPath | None,
    split: SplitName,
    contours: tuple[UPath | None, UPath | None, UPath | None],
    threshold: float,
    out: UPath | None,
) -> int:
    """Score a run on a record set, or contour files against manual ones."""
    from lvseg.scoring import score_contours, score_run

    auto, manual, dicom = contours
    if not threshold > 0:
        raise ConfigError(f"threshold must be above 0, got {threshold:g}")
    if out is not None:
        require_durable("out", out)
    if run is not None and records is not None and contours == (None, None, None):
        score_run(run, records, split, threshold, out, open_console())
    elif auto is not None and dicom is not None and run is None:
        score_contours(auto, manual or dicom, dicom, threshold, out, open_console())
    else:
        raise ConfigError("evaluate takes either RUN RECORDS, or --auto DIR --dicom DIR and perhaps --manual DIR")
    return 0


def leaderboard(
    runs: UPath, view: View, format: Format, out: UPath | None, interval: float | None, *, compact: bool
) -> int:
    """Draw, write or watch the leaderboard."""
    from lvseg.leaderboard import build, render
    from lvseg.leaderboard.gather import compact_store
    from lvseg.leaderboard.watch import watch

    if interval is not None:
        if format != "table" or out is not None:
            raise ConfigError("watch draws a table on the terminal: it goes without --format and --out")
        if not interval > 0:
            raise ConfigError(f"interval must be above 0, got {interval:g}")
        watch(runs, view, open_console(), interval)
        return 0
    if compact:
        compact_store(runs)
    text = render(build(runs, view), format)
    if out is None:
        print(text.rstrip("\n"))
        return 0
    try:
        write_text(out, text)
    except OSError as error:
        raise LvsegError(f"{out}: cannot be written: {error.strerror or error}") from None
    open_console().print(str(out), soft_wrap=True)
    return 0


def models(shape: str, batch_size: int, seconds: float | None) -> int:
    """List the models with their cost."""
    import_keras()
    from lvseg.models.table import list_models, models_table, parse_shape

    console, sides = open_console(), parse_shape(shape)
    with console.status("models") as status:
        costs = list_models(sides, batch_size, seconds, status.update)
    console.print(models_table(costs, sides, batch_size))
    return 0


def report(runs: UPath, view: View, out: UPath) -> int:
    """Write the report page."""
    from lvseg.leaderboard import build
    from lvseg.report import write_report

    require_durable("out", out)
    open_console().print(str(write_report(build(runs, view), out)), soft_wrap=True)
    return 0
