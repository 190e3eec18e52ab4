"""Very many labelled slices in little time, for benchmarks: a few hearts over and over, with new noise in each image.

The layout is the linked one. Every image has an endocardium contour, at ED an epicardium contour too. No two images
are alike, and no two patients share a contour: pixels get a stretch of a noise bank of their own, a patient's contours
a shift of under half a pixel. A file is a header that pydicom wrote once for each patient, with fields of fixed width
filled in, and pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import PYDICOM_ROOT_UID

from lvseg.phantom.anatomy import Anatomy, Floats, draw_anatomy, section
from lvseg.phantom.dicom import StudyWriter, file_bytes
from lvseg.phantom.painter import Painter
from lvseg.phantom.plan import PlannedImage, Study, contour_points
from lvseg.phantom.trees import LinkedTree
from lvseg.phantom.truth import find_truth

__all__ = ["FastWriter"]

HEARTS = 3
"""Different hearts, one of each group."""

FIRST_Z_MM, LAST_Z = 16.0, 0.72
"""Slices from here (mm below the valve plane) to here (fraction of the cavity's length): a cavity in every phase."""

NOISE_BANK = 1_000_003
"""Places in the noise bank; prime, so that a stride visits them all before it comes back."""

NOISE_STRIDE = 104_729
NOISE_STORED = 12.0
"""Standard deviation of the noise, stored values: about a third of that in the images."""

SHIFTS = 50
"""Shifts of a contour in x and in y, in steps of 0.01 px."""

_FIRST_UID = 1_000_000

_BLANKS = {
    "InstanceNumber": ["900001"],
    "TriggerTime": ["9000.001"],
    "SliceLocation": ["+9000001.0000001"],
    "ImagePositionPatient": ["+9000002.0000002", "+9000003.0000003", "+9000004.0000004"],
}
"""Values in the header to be replaced by others of the same width."""


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """One image of one heart."""

    number: int
    pixels: NDArray[np.int16]
    contours: dict[str, Floats]
    fields: tuple[tuple[bytes, bytes], ...]
    """What to replace in the header, by what."""


class FastWriter:
    """Writes patients; the same arguments give the same bytes.

    Args:
        seed: the phantom's seed.
        size: rows and columns.
        slices: slices of a patient.
        phases: phases of a slice.
    """

    def __init__(self, seed: int, size: int, slices: int, phases: int) -> None:
        self._seed, self._size, self._slices, self._phases = seed, size, slices, phases
        self._tree = LinkedTree()
        self._hearts: dict[int, tuple[Study, list[_Frame]]] = {}
        noise = np.random.default_rng([seed, NOISE_BANK]).normal(0, NOISE_STORED, NOISE_BANK + size * size)
        self._noise = np.rint(noise).astype(np.int16)

    def study(self, number: int) -> Study:
        """Patient ``number``, from 1."""
        study, _ = self._heart((number - 1) % HEARTS)
        return replace(study, anatomy=replace(study.anatomy, number=number), identity=self._tree.identity(number))

    def write(self, out: Path, number: int) -> tuple[int, int]:
        """Write patient ``number``; returns the numbers of images and of epicardium contours."""
        study, frames = self.study(number), self._heart((number - 1) % HEARTS)[1]
        images = out / "dicoms" / study.identity.patient_id
        contours = out / "contourfiles" / study.identity.case_id
        for folder in (images, *(contours / f"{kind}-contours" for kind in "iop")):
            folder.mkdir(parents=True)
        header, blank_uid = _header(study), _uid(study, 0)
        shift = np.array(divmod((number - 1) // HEARTS, SHIFTS)[::-1]) % SHIFTS * 0.01
        first = (number - 1) * len(frames)
        epicardia = 0
        for index, frame in enumerate(frames):
            pixels = self._add_noise(frame.pixels, first + index)
            data = _fill(header, (*frame.fields, (blank_uid, _uid(study, frame.number)))) + pixels.tobytes()
            (images / f"{frame.number}.dcm").write_bytes(data)
            for kind, points in frame.contours.items():
                path = contours / f"{kind}-contours" / f"IM-0001-{frame.number:04d}-{kind}contour-manual.txt"
                path.write_bytes(_lines(points + shift))
            epicardia += "o" in frame.contours
        return len(frames), epicardia

    def _heart(self, index: int) -> tuple[Study, list[_Frame]]:
        if index not in self._hearts:
            anatomy = _shorten(draw_anatomy(index + 1, self._seed, self._slices), self._slices)
            study = Study(
                anatomy=anatomy,
                truth=find_truth(anatomy, self._slices, self._phases),
                identity=self._tree.identity(index + 1),
                slices=self._slices,
                phases=self._phases,
                size=self._size,
                seed=self._seed,
            )
            self._hearts[index] = study, list(_frames(study))
        return self._hearts[index]

    def _add_noise(self, pixels: NDArray[np.int16], index: int) -> NDArray[np.int16]:
        start = index * NOISE_STRIDE % NOISE_BANK
        noise = self._noise[start : start + pixels.size].reshape(pixels.shape)
        return np.asarray(np.maximum(pixels + noise, 0), "<i2")


def _shorten(anatomy: Anatomy, slices: int) -> Anatomy:
    """Place the slices where the cavity is open in every phase."""
    reach = LAST_Z * anatomy.cavity_length_mm - FIRST_Z_MM
    return replace(anatomy, first_z_mm=FIRST_Z_MM, slice_spacing_mm=round(reach / max(slices - 1, 1), 2))


def _frames(study: Study) -> Iterator[_Frame]:
    painter, writer = Painter(), StudyWriter(study)
    for slice_index, phase in np.ndindex(study.slices, study.phases):
        number = study.image_number(slice_index, phase)
        image = PlannedImage(shows=study, slice_index=slice_index, phase=phase, number=number)
        state = section(study.anatomy, slice_index, phase / study.phases)
        radii = {"i": state.endocardium_mm} | ({"o": state.epicardium_mm} if phase == study.truth.ed_phase else {})
        contours = {
            kind: contour_points(state.outline(np.asarray(radius)), study.pixel_spacing_mm, study.size)
            for kind, radius in radii.items()
        }
        yield _Frame(number, painter.paint(image), contours, tuple(_fields(writer, image)))


def _fields(writer: StudyWriter, image: PlannedImage) -> Iterator[tuple[bytes, bytes]]:
    values = {
        "InstanceNumber": [f"{image.number:06d}"],
        "TriggerTime": [f"{writer.trigger_time_ms(image):08.3f}"],
        "SliceLocation": [f"{writer.location_mm(image):+016.7f}"],
        "ImagePositionPatient": [f"{value:+016.7f}" for value in writer.corner_mm(image)],
    }
    for keyword, blanks in _BLANKS.items():
        for blank, value in zip(blanks, values[keyword], strict=True):
            yield blank.encode(), value.encode()


def _header(study: Study) -> bytes:
    """Everything before the pixels, with blanks."""
    image = PlannedImage(shows=study, slice_index=0, phase=0, number=1)
    dataset = StudyWriter(study).dataset(image, np.zeros((study.size, study.size), np.int16))
    dataset.SOPInstanceUID = _uid(study, 0).decode()
    for keyword, blanks in _BLANKS.items():
        setattr(dataset, keyword, blanks)
    return file_bytes(dataset)[: -2 * study.size**2]


def _fill(header: bytes, fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The header of one image."""
    for blank, value in fields:
        header = header.replace(blank, value)
    return header


def _uid(study: Study, number: int) -> bytes:
    """SOPInstanceUID of an image, of the same width for every number."""
    return f"{PYDICOM_ROOT_UID}{study.seed}.{study.anatomy.number}.{_FIRST_UID + number}".encode()


def _lines(points: Floats) -> bytes:
    """A contour file's text."""
    return ("%.2f %.2f\n" * len(points) % tuple(points.ravel().tolist())).encode()
