"""``python -m lvseg.cli``."""

from lvseg.cli import run

run()
