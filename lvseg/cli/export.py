"""Models for other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lvseg.cli.terminal import open_console, require_durable
from lvseg.errors import ConfigError
from lvseg.quiet import import_keras
from lvseg.store import UPath

if TYPE_CHECKING:
    from lvseg.export.formats import ExportFormat


def export(run: UPath, formats: tuple[ExportFormat, ...], out: UPath | None, *, overwrite: bool) -> int:
    """Export a run's best model and say what came of it."""
    if not formats:
        raise ConfigError("to must name at least one format, got none")
    out = run / "export" if out is None else out
    require_durable("out", out)
    import_keras()
    from lvseg.export.run import export_run

    console = open_console()
    with console.status("export"):
        card = export_run(run, formats, out, overwrite=overwrite)
    for file in card.files:
        compared = f"probabilities as the run's own, largest difference {file.largest_difference:.1e}"
        console.print(f"{out / file.file}: {compared}", soft_wrap=True)
    console.print(f"model card: {out / 'MODEL_CARD.md'}", soft_wrap=True)
    return 0
