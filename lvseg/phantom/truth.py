"""What is true about a phantom patient: areas, volumes, ejection fraction, computed from the shapes themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lvseg.phantom.anatomy import Anatomy, Floats, Section, polygon_area, section

__all__ = ["Truth", "find_truth"]

_MYOCARDIUM_G_PER_ML = 1.05


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Truth:
    """Truth of one patient.

    Volumes follow the challenge: the sum over slices of area times the distance of the slices.
    """

    endocardium_mm2: Floats
    """(slices, phases) area of the cavity, papillary muscles included; 0 where there is none."""
    epicardium_mm2: Floats
    """(slices, phases) area inside the epicardium; 0 where the slice has no cavity."""
    slice_spacing_mm: float
    """Distance of neighbouring slices' centres."""

    @property
    def volumes_ml(self) -> Floats:
        """(phases,) volume of the cavity."""
        return np.asarray(self.endocardium_mm2.sum(axis=0) * self.slice_spacing_mm / 1000)

    @property
    def ed_phase(self) -> int:
        """0-based phase of the largest volume."""
        return int(np.argmax(self.volumes_ml))

    @property
    def es_phase(self) -> int:
        """0-based phase of the smallest volume."""
        return int(np.argmin(self.volumes_ml))

    @property
    def ejection_fraction(self) -> float:
        """(EDV - ESV) / EDV."""
        return float(1 - self.volumes_ml.min() / self.volumes_ml.max())

    @property
    def mass_g(self) -> float:
        """Mass of the left ventricle's wall at ED."""
        wall = (self.epicardium_mm2 - self.endocardium_mm2)[:, self.ed_phase].sum()
        return float(_MYOCARDIUM_G_PER_ML * wall * self.slice_spacing_mm / 1000)

    def labelled(self) -> list[tuple[int, int]]:
        """(slice, phase) of the images with a contour: ED and ES, where the slice has a cavity."""
        phases = sorted({self.ed_phase, self.es_phase})
        return [(s, p) for s in range(len(self.endocardium_mm2)) for p in phases if self.endocardium_mm2[s, p] > 0]

    def summary(self) -> dict[str, Any]:
        """The patient's numbers, rounded, for JSON."""
        volumes = self.volumes_ml
        return {
            "ed_phase": self.ed_phase,
            "es_phase": self.es_phase,
            "edv_ml": round(float(volumes.max()), 4),
            "esv_ml": round(float(volumes.min()), 4),
            "ejection_fraction": round(self.ejection_fraction, 6),
            "lv_mass_g": round(self.mass_g, 4),
            "volumes_ml": [round(float(volume), 4) for volume in volumes],
        }


def find_truth(anatomy: Anatomy, slices: int, phases: int) -> Truth:
    """Measure the patient's shapes in every image."""
    sections = [[section(anatomy, s, p / phases) for p in range(phases)] for s in range(slices)]
    return Truth(
        endocardium_mm2=np.array([[_area(each, each.endocardium_mm) for each in row] for row in sections]),
        epicardium_mm2=np.array([[_area(each, each.epicardium_mm) for each in row] for row in sections]),
        slice_spacing_mm=anatomy.slice_spacing_mm,
    )


def _area(state: Section, radius_mm: Floats | None) -> float:
    if radius_mm is None or state.endocardium_mm is None:
        return 0.0
    return polygon_area(state.outline(radius_mm))
