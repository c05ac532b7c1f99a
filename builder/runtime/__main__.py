"""The image's entry point. Other processes of the app (multiprocessing's) import it without running it."""

from __future__ import annotations

import sys

from builder.runtime.main import main

if __name__ == "__main__":
    sys.exit(main())
