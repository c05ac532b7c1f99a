"""Needs of libraries that nothing in an image meets, as `nix/sandbox/link_check.py` reports them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from builder.errors import BuildError
from builder.models import Model

if TYPE_CHECKING:
    from pathlib import Path


class Need(Model):
    """Something that a library needs and does not get.

    Attributes:
        package: normalized name of the package that has the library.
        version: its version.
        library: the library's path below site-packages.
        kind: what is missing: a library, a version of symbols, or a symbol.
        name: its name: a soname, a version, a symbol.
        more: how many other symbols are missing.
        provider: of a version, the library that should have it.
        module: the module whose import fails over it; None where none does.
        error: what that import said.
        reason: the likely reason; None where there is none but that it is missing.
    """

    package: str
    version: str
    library: str
    kind: Literal["library", "version", "symbol"] = "library"
    name: str
    more: int = 0
    provider: str = ""
    module: str | None = None
    error: str | None = None
    reason: str | None = None


class LinkError(BuildError):
    """Packages of an image cannot be imported.

    Attributes:
        needs: what they lack.
    """

    def __init__(self, message: str, needs: tuple[Need, ...], *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.needs = needs


class Report(Model):
    """What the check has found.

    Attributes:
        failures: what top-level modules lack that packages are imported by: it fails the image.
        wanted: what other modules lack that apps import.
        optional: what parts lack that no import loads.
        complaint: what to say of the failures; None where there are none.
    """

    failures: tuple[Need, ...]
    wanted: tuple[Need, ...]
    optional: tuple[Need, ...]
    complaint: str | None

    @property
    def error(self) -> LinkError | None:
        """The error that the failures come to."""
        return LinkError(self.complaint, self.failures) if self.complaint else None


def read_report(folder: Path) -> Report:
    """Read what the derivation `links` of an image gave."""
    return Report.model_validate_json((folder / "report.json").read_bytes())
