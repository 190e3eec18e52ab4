"""Scores of predicted masks, in NumPy alone."""

from lvseg.evaluation.metrics import DiceSummary, dice, dice_from_counts, pooled_dice, summarise

__all__ = ["DiceSummary", "dice", "dice_from_counts", "pooled_dice", "summarise"]
