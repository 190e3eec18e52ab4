"""The leaderboard as one HTML page that needs nothing beside it."""

from lvseg.report.page import render_page, write_report

__all__ = ["render_page", "write_report"]
