"""``python -m lvseg.cli``."""

import sys

from lvseg.cli import main

sys.exit(main())
