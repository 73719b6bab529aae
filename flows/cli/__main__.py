"""``python -m flows.cli``: the same as ``autoprune``."""

import sys

from flows.cli import main

sys.exit(main())
