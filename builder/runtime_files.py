"""What of this project goes into an image besides the app: the runtime's files, and what they require."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builder.models import AppSpec

_PACKAGE = Path(__file__).parent
# The name at the beginning of a requirement (PEP 508), or of a wheel's file name.
_NAME = re.compile(r"([a-z0-9](?:[a-z0-9._-]*[a-z0-9])?)\s*(?:$|[\[(<>=!~;@,])", re.IGNORECASE)
_WHEEL = re.compile(r"(?:.*/)?([A-Za-z0-9._]+)-[^/]*\.whl(?:[?#].*)?")


def image_modules() -> dict[str, Path]:
    """The files of this package that an image has: path under site-packages, to the file here."""
    own = [_PACKAGE / name for name in ("__init__.py", "app.py", "py.typed")]
    files = [*own, *sorted((_PACKAGE / "runtime").glob("*.py"))]
    return {file.relative_to(_PACKAGE.parent).as_posix(): file for file in files}


def runtime_requirements(spec: AppSpec) -> list[str]:
    """What the runtime needs besides what the app requires itself.

    FastAPI and uvicorn for endpoints; for a fal app the SDK that serves it, which requires both. Versions are
    left to the resolver, so that they fit whatever the app pins.

    Args:
        spec: the app.

    Returns:
        Requirements, without those the app names already.
    """
    served = ["fastapi", "uvicorn"] if spec.endpoints else []
    wanted = ["fal"] if spec.kind == "fal" else served
    named = {
        re.sub(r"[-_.]+", "-", match[1]).lower()
        for step in spec.requirements
        for word in step
        if (match := _WHEEL.fullmatch(word) or _NAME.match(word))
    }
    return [name for name in wanted if name not in named]
