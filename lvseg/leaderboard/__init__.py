"""Every run below a folder, ranked by Dice, with intervals and comparisons, as text in several forms."""

from lvseg.leaderboard.board import Group, Leaderboard, Row, build
from lvseg.leaderboard.columns import ABSENT, COLUMNS, Column
from lvseg.leaderboard.formats import Format, render
from lvseg.leaderboard.importance import Importance, rank_settings, varied_settings
from lvseg.leaderboard.view import View

__all__ = [
    "ABSENT",
    "COLUMNS",
    "Column",
    "Format",
    "Group",
    "Importance",
    "Leaderboard",
    "Row",
    "View",
    "build",
    "rank_settings",
    "render",
    "varied_settings",
]
