"""Scores of masks and contours: Dice, the challenge's distances, volumes and their agreement; no TensorFlow, no Ray.

``contour_from_mask`` and ``contours_from_mask`` turn predictions into contours, ``evaluate_frames`` scores them against
manual ones, ``measure_volumes`` and ``phase_volumes_ml`` give a patient's numbers, ``write_auto_contours`` and
``write_evaluation`` the files.
"""

from lvseg.evaluation.agreement import Agreement, measure_agreement, plot_agreements
from lvseg.evaluation.challenge import ContourEvaluation, PatientVolumes, evaluate_frames
from lvseg.evaluation.files import (
    auto_contour_name,
    format_contour,
    null_for_nan,
    to_csv,
    to_json,
    write_auto_contours,
    write_evaluation,
)
from lvseg.evaluation.frames import STRUCTURES, Frame, Structure, contours_from_mask, frame_from_mask, place_on_source
from lvseg.evaluation.mask_contours import contour_from_mask
from lvseg.evaluation.metrics import DiceSummary, dice, dice_from_counts, pooled_dice, summarise
from lvseg.evaluation.outlines import ContourScore, compare_contours
from lvseg.evaluation.scores import GOOD_THRESHOLD, ImageScore
from lvseg.evaluation.summary import MeanSD, PatientScore, Stratum
from lvseg.evaluation.volumes import Volumes, find_phases, measure_volumes, phase_volumes_ml, slice_spacing_mm

__all__ = [
    "GOOD_THRESHOLD",
    "STRUCTURES",
    "Agreement",
    "ContourEvaluation",
    "ContourScore",
    "DiceSummary",
    "Frame",
    "ImageScore",
    "MeanSD",
    "PatientScore",
    "PatientVolumes",
    "Stratum",
    "Structure",
    "Volumes",
    "auto_contour_name",
    "compare_contours",
    "contour_from_mask",
    "contours_from_mask",
    "dice",
    "dice_from_counts",
    "evaluate_frames",
    "find_phases",
    "format_contour",
    "frame_from_mask",
    "measure_agreement",
    "measure_volumes",
    "null_for_nan",
    "phase_volumes_ml",
    "place_on_source",
    "plot_agreements",
    "pooled_dice",
    "slice_spacing_mm",
    "summarise",
    "to_csv",
    "to_json",
    "write_auto_contours",
    "write_evaluation",
]
