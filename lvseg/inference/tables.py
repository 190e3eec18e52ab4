"""Numbers of predicted studies as tables, and the volume–time curve as a picture."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lvseg.evaluation import to_csv
from lvseg.findings import Decision, Skip
from lvseg.store import UPath, write_bytes, write_text

__all__ = ["ImageRow", "StudyNote", "VolumesRow", "draw_curve", "write_tables"]

VOLUMES_CSV, VOLUMES_PARQUET, CURVES_CSV, IMAGES_CSV = (
    "volumes.csv",
    "volumes.parquet",
    "volume-time.csv",
    "images.csv",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class VolumesRow:
    """A line of ``volumes.csv``: one study."""

    case_id: str
    """Its pseudonym."""
    images: int
    """Images that were predicted."""
    slices: int
    """Slices, as far as they are known."""
    phases: int
    """Phases."""
    slice_spacing_mm: float | None
    """Distance of slices' centres, mm."""
    ed_phase: int | None
    """0-based phase of the largest volume."""
    es_phase: int | None
    """0-based phase of the smallest volume."""
    edv_ml: float | None
    """Volume at end-diastole, ml."""
    esv_ml: float | None
    """Volume at end-systole, ml."""
    sv_ml: float | None
    """Stroke volume, ml."""
    ejection_fraction: float | None
    """0 to 1."""
    mass_g: float | None
    """Mass of the wall at end-diastole, g."""
    look_images: int
    """Images that a person should look at."""
    unreadable_images: int
    """Images of the study that could not be used."""
    left_out_phases: int
    """Phases without a volume, since a slice is missing."""
    missing_slices: int
    """Gaps in the stack: every volume lacks them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRow:
    """A line of ``images.csv``: one image."""

    case_id: str
    """The study's pseudonym."""
    name: str
    """The image's name."""
    instance_number: int | None
    """Number in its series."""
    slice_index: int | None
    """0-based slice, 0 the first along the slice normal."""
    phase_index: int | None
    """0-based phase."""
    trigger_time_ms: float | None
    """Delay after the R wave, ms."""
    area_px: float
    """Area within the cavity's contour, pixels."""
    area_mm2: float | None
    """The same, mm²."""
    uncertainty: float | None
    """0 to 1."""
    look: str | None
    """Why a person should look at it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyNote:
    """All that the tables need of a study; kept as ``study.json`` in its folder, whose presence says it is finished."""

    case_id: str
    """Its pseudonym."""
    volumes: VolumesRow
    """Its line of ``volumes.csv``."""
    images: tuple[ImageRow, ...]
    """Its lines of ``images.csv``."""
    curve_ml: dict[int, float]
    """0-based phase → volume of the cavity, ml."""
    trigger_times_ms: dict[int, float]
    """Phase → median trigger time, ms."""
    files: tuple[str, ...] = ()
    """Files beside it."""
    skipped: tuple[Skip, ...] = ()
    """Files of the source that were left out."""
    decisions: tuple[Decision, ...] = ()
    """What was chosen, and why."""

    @property
    def doubt(self) -> str | None:
        """Why its volumes may mislead, or None."""
        row = self.volumes
        if row.unreadable_images:
            return f"{row.unreadable_images} images could not be used"
        if row.missing_slices:
            return f"{row.missing_slices} slices are missing in the stack"
        if row.left_out_phases and self.skipped:
            return f"{row.left_out_phases} phases lack a slice, {len(self.skipped)} files were left out"
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class _CurveRow:
    case_id: str
    phase_index: int
    trigger_time_ms: float | None
    volume_ml: float


VOLUMES_SCHEMA = pa.schema(
    [
        pa.field("case_id", pa.string(), nullable=False),
        *[pa.field(name, pa.int64(), nullable=False) for name in ("images", "slices", "phases")],
        pa.field("slice_spacing_mm", pa.float64()),
        *[pa.field(name, pa.int64()) for name in ("ed_phase", "es_phase")],
        *[pa.field(name, pa.float64()) for name in ("edv_ml", "esv_ml", "sv_ml", "ejection_fraction", "mass_g")],
        *[
            pa.field(name, pa.int64(), nullable=False)
            for name in ("look_images", "unreadable_images", "left_out_phases", "missing_slices")
        ],
    ]
)


def write_tables(folder: UPath, notes: Iterable[StudyNote]) -> None:
    """Write ``volumes.csv``, ``volumes.parquet``, ``volume-time.csv`` and ``images.csv``.

    Images are taken a study at a time: only their lines stay in memory.

    Raises:
        OSError: a file cannot be written.
    """
    volumes: list[VolumesRow] = []
    curves: list[_CurveRow] = []
    images = _Lines(ImageRow)
    for note in notes:
        volumes.append(note.volumes)
        images.add(note.images)
        curves += [
            _CurveRow(
                case_id=note.case_id,
                phase_index=phase,
                trigger_time_ms=note.trigger_times_ms.get(phase),
                volume_ml=volume,
            )
            for phase, volume in note.curve_ml.items()
        ]
    write_text(folder / VOLUMES_CSV, to_csv(volumes))
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dataclasses.asdict(row) for row in volumes], schema=VOLUMES_SCHEMA), file)
    write_bytes(folder / VOLUMES_PARQUET, file.getvalue())
    write_text(folder / CURVES_CSV, to_csv(curves))
    write_text(folder / IMAGES_CSV, images.text())


class _Lines:
    """A CSV that grows."""

    def __init__(self, kind: type[Any]) -> None:
        self._file = io.StringIO()
        names = [each.name for each in dataclasses.fields(kind)]
        self._writer = csv.DictWriter(self._file, names, lineterminator="\n")
        self._writer.writeheader()

    def add(self, rows: Sequence[Any]) -> None:
        for row in rows:
            values = {each.name: getattr(row, each.name) for each in dataclasses.fields(row)}
            self._writer.writerow({key: _short(value) for key, value in values.items()})

    def text(self) -> str:
        return self._file.getvalue()


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def draw_curve(note: StudyNote) -> bytes | None:
    """The volume–time curve as PNG; None where there are fewer than three phases."""
    if len(note.curve_ml) < 3:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.4))
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    at = _abscissa(note.curve_ml, note.trigger_times_ms)
    axis.plot(list(at.values()), list(note.curve_ml.values()), "o-", color="#1f5fa8", markersize=4, linewidth=1.4)
    row = note.volumes
    for name, phase, volume in (("ED", row.ed_phase, row.edv_ml), ("ES", row.es_phase, row.esv_ml)):
        if phase is not None and volume is not None:
            axis.annotate(
                f"{name} {volume:.0f} ml", (at[phase], volume), (0, 9), textcoords="offset points", ha="center"
            )
            axis.plot([at[phase]], [volume], "o", color="#c8501e", markersize=6)
    axis.set_xlabel("trigger time, ms" if note.trigger_times_ms.keys() >= at.keys() else "phase")
    axis.set_ylabel("cavity, ml")
    axis.set_ylim(0, 1.2 * max(note.curve_ml.values()) or 1)
    fraction = "" if row.ejection_fraction is None else f": EF {100 * row.ejection_fraction:.0f} %"
    axis.set_title(f"{note.case_id}{fraction}", fontsize=10)
    # Fixed margins: the layout engines take longer than the drawing.
    figure.subplots_adjust(left=0.13, right=0.97, bottom=0.15, top=0.91)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return file.getvalue()


def _abscissa(curve: Mapping[int, float], times: Mapping[int, float]) -> dict[int, float]:
    """Where each phase stands: its time where all are known, else its number."""
    return {phase: times[phase] if times.keys() >= curve.keys() else float(phase) for phase in curve}
