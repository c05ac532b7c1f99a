"""diffoscope (Reproducible Builds), which looks into archives, libraries and bytecode; where it is installed."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from builder import process

if TYPE_CHECKING:
    from pathlib import Path

# Seconds: it may take hours for what is large, and what this program has found itself is told in any case.
_PATIENCE = "300"


def diffoscope(first: str, second: str, report: Path) -> str | None:
    """Have what differs in two files or folders written into a file.

    Args:
        first: the one's path.
        second: the other's.
        report: the file.

    Returns:
        the file's path, or None where diffoscope is not installed or came to no end.
    """
    if shutil.which("diffoscope") is None:
        return None
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    words = ["timeout", _PATIENCE, "diffoscope", "--no-progress", "--exclude-directory-metadata", "yes"]
    process.run([*words, "--text", str(report), first, second])
    return str(report) if report.exists() else None
