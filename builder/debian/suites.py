"""Which Debian suite has which Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from builder.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.debian.mirrors import Archive


@dataclass(frozen=True)
class Pocket:
    """One index of a suite.

    Attributes:
        archive: the archive it is in.
        name: its folder in `dists`, and the Codename its Release file must have.
        required: whether a mirror without it is not a mirror of this suite.
    """

    archive: Archive
    name: str
    required: bool


@dataclass(frozen=True)
class Suite:
    """A Debian release, as one Python version's base.

    Attributes:
        codename: "bookworm".
        status: "released" where Debian's security archive serves it; "ended" where its support has ended,
            from when on mirrors drop files of its security pocket; "testing" before its release; "custom" for
            one that the user named.
    """

    codename: str
    status: Literal["released", "ended", "testing", "custom"]

    @property
    def pockets(self) -> tuple[Pocket, ...]:
        """The indexes to read, whose highest version of a package wins.

        A released suite without its security pocket is refused: its base would lack fixes and nobody would
        notice. `-updates` (time zones, CA certificates) does not exist in dated archives of every age.
        """
        return (
            Pocket("debian", self.codename, required=True),
            Pocket("debian", f"{self.codename}-updates", required=False),
            Pocket(
                "debian-security", f"{self.codename}-security", required=self.status in ("released", "ended")
            ),
        )


# The default Python of each release that Debian's mirrors carry, from the version of package `python3` in the
# releases' own indexes, as read on 2026-11-22; Debian's long-term support of bullseye ended on 2026-08-31.
# Every default Python is the only one its release has.
SUITES: Mapping[str, Suite] = {
    "3.9": Suite("bullseye", "ended"),
    "3.11": Suite("bookworm", "released"),
    "3.13": Suite("trixie", "released"),
    "3.14": Suite("forky", "testing"),
}


def suite_for(python: str, extra_suites: Mapping[str, str] | None = None) -> Suite:
    """The suite whose Python this is.

    Args:
        python: "3.11".
        extra_suites: suites the user's mirror offers besides, by Python version: `{"3.12": "trixie"}` with a
            mirror that is a dated archive of when trixie had 3.12. They come before the built-in ones.

    Raises:
        DeclarationError: no suite has it.
    """
    extra = dict(extra_suites or {})
    if python in extra:
        return Suite(extra[python], "custom")
    if python in SUITES:
        return SUITES[python]
    offered = sorted(
        {*SUITES, *extra}, key=lambda version: [int(part) for part in version.split(".") if part.isdigit()]
    )
    raise DeclarationError(
        f"no Debian suite has Python {python}; offered are {', '.join(offered)}",
        hint="declare one of these, or, where a dated archive of Debian has it, name that archive in "
        f'[tool.builder.mirrors] and the suite in [tool.builder.suites], as in "{python}" = "trixie"',
    )
