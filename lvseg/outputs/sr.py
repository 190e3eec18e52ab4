"""Volumes and ejection fraction as a DICOM Structured Report: template TID 1500 in a Comprehensive SR.

As the SEG, it goes into the study of its images and so names them and the patient by the source's own ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from lvseg import __version__
from lvseg.errors import SourceError
from lvseg.evaluation import Volumes, find_phases, measure_volumes
from lvseg.outputs.cine import measurable
from lvseg.outputs.seg import dicom_bytes
from lvseg.outputs.source_headers import new_uid, read_source_headers, writing_dicom
from lvseg.outputs.study import PredictedStudy
from lvseg.store import UPath, write_bytes

__all__ = ["write_sr"]

SR_SERIES_NUMBER = 9002
MILLILITRE = Code("ml", "UCUM", "ml")
PERCENT = Code("%", "UCUM", "%")
GRAM = Code("g", "UCUM", "g")
DIGITS = 2

MEASUREMENTS = {
    "edv_ml": (codes.LN.LeftVentricularEDVolume, MILLILITRE, 1.0),
    "esv_ml": (codes.LN.LeftVentricularESVolume, MILLILITRE, 1.0),
    "sv_ml": (codes.SCT.StrokeVolume, MILLILITRE, 1.0),
    "ejection_fraction": (codes.LN.LeftVentricularEjectionFractionByMR, PERCENT, 100.0),
    "mass_g": (codes.LN.LeftVentricleMass, GRAM, 1.0),
}
"""Field of ``Volumes`` → its code (CID 3833 and 3835 of PS3.16; the mass's from CID 12203), unit and factor."""


def write_sr(study: PredictedStudy, folder: UPath, volumes: Volumes | None = None) -> list[str]:
    """Write ``CASE-sr.dcm``: EDV, ESV, stroke volume, ejection fraction, and mass where the myocardium was drawn.

    Args:
        study: the images; those at ED and ES are what the report refers to.
        folder: the patient's.
        volumes: the numbers; default: measured on the contours of the masks.

    Returns:
        Its name.

    Raises:
        SourceError: ED and ES, or the spacings that volumes need, are not known, or an image has no DICOM source.
    """
    drawn = measurable(study)
    phases = find_phases(drawn)
    volumes = measure_volumes(drawn, phases, study.slice_spacing_mm) if volumes is None else volumes
    if volumes.edv_ml is None or volumes.esv_ml is None:
        raise SourceError(f"{study.case_id}: {_lacking(study)}, so there are no volumes")
    images = [image for image in study.images if image.phase_index in phases]
    headers = read_source_headers(images)
    with writing_dicom(study.case_id):
        data = dicom_bytes(_report(headers, volumes))
    write_bytes(folder / f"{study.case_id}-sr.dcm", data)
    return [f"{study.case_id}-sr.dcm"]


def _lacking(study: PredictedStudy) -> str:
    """What keeps a study from having volumes."""
    for image in study.images:
        if image.phase_index is None or image.slice_index is None:
            return f"phase or slice of {image.name} is not known"
        if image.pixel_spacing is None:
            return f"{image.name} has no PixelSpacing"
    if study.slice_spacing_mm is None and len({image.slice_index for image in study.images}) < 2:
        return "the distance of the slices is not known"
    return "the cavity was not found at two phases"


def _report(headers: Sequence[Dataset], volumes: Volumes) -> Dataset:
    from highdicom.sr import ComprehensiveSR, MeasurementReport

    numbers = {
        field: round(value * factor, DIGITS)
        for field, (_, _, factor) in MEASUREMENTS.items()
        if (value := getattr(volumes, field)) is not None
    }
    what = [*(str(header.SOPInstanceUID) for header in headers), repr(numbers)]
    content = MeasurementReport(
        observation_context=_observer(),
        procedure_reported=codes.SCT.MagneticResonanceImagingOfHeart,
        imaging_measurements=[_measurements(headers, numbers, new_uid("sr measurements", *what))],
        title=codes.DCM.ImagingMeasurementReport,
    )
    report: Dataset = ComprehensiveSR(
        evidence=list(headers),
        content=content[0],
        series_instance_uid=new_uid("sr series", *what),
        series_number=SR_SERIES_NUMBER,
        sop_instance_uid=new_uid("sr", *what),
        instance_number=1,
        manufacturer="lvseg",
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description="lvseg: left ventricular volumes",
        manufacturer_model_name="lvseg",
        software_versions=__version__,
        device_serial_number=__version__,
    )
    return report


def _observer() -> Any:
    from highdicom.sr import DeviceObserverIdentifyingAttributes, ObservationContext, ObserverContext

    device = DeviceObserverIdentifyingAttributes(
        uid=new_uid("device", __version__), name="lvseg", manufacturer_name="lvseg", model_name=__version__
    )
    context = ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    return ObservationContext(observer_device_context=context)


def _measurements(headers: Sequence[Dataset], numbers: dict[str, float], uid: str) -> Any:
    from highdicom import sr

    algorithm = sr.AlgorithmIdentification(name="lvseg", version=__version__, family=codes.DCM.ArtificialIntelligence)
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=uid, identifier="Left ventricle"),
        finding_type=codes.SCT.LeftVentricle,
        finding_sites=[sr.FindingSite(anatomic_location=codes.SCT.LeftVentricle)],
        algorithm_id=algorithm,
        measurements=[
            sr.Measurement(name=MEASUREMENTS[field][0], value=value, unit=MEASUREMENTS[field][1])
            for field, value in numbers.items()
        ],
        source_images=[
            sr.SourceImageForMeasurementGroup(
                referenced_sop_class_uid=header.SOPClassUID, referenced_sop_instance_uid=header.SOPInstanceUID
            )
            for header in headers
        ],
    )
