"""Requirements as an app declares them: install steps of pip's command-line words, parsed.

A step is what one `pip install` would be given, in any order; an option holds for the whole step it stands in. A word
that is not understood is an error with its place in the declaration; none is ever left out silently.
"""

from builder.requirements.fits import check_wheel_fits
from builder.requirements.model import (
    ArchiveSource,
    DirectorySource,
    GitSource,
    Requirement,
    Requirements,
    Step,
    declared_url,
)
from builder.requirements.parse import parse_requirements, parse_runtime

__all__ = [
    "ArchiveSource",
    "DirectorySource",
    "GitSource",
    "Requirement",
    "Requirements",
    "Step",
    "check_wheel_fits",
    "declared_url",
    "parse_requirements",
    "parse_runtime",
]
