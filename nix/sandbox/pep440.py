"""Compares version numbers as PEP 440 does, as far as equality goes.

`packaging` does the whole, but is not at hand inside a build.
"""

from __future__ import annotations

import re

_VERSION = re.compile(
    r"""
    v?
    (?:(?P<epoch>[0-9]+)!)?
    (?P<release>[0-9]+(?:\.[0-9]+)*)
    (?:[-_.]?(?P<pre>alpha|beta|preview|pre|rc|a|b|c)[-_.]?(?P<pre_number>[0-9]*))?
    (?:-(?P<post_short>[0-9]+)|[-_.]?(?P<post>post|rev|r)[-_.]?(?P<post_number>[0-9]*))?
    (?:[-_.]?(?P<dev>dev)[-_.]?(?P<dev_number>[0-9]*))?
    (?:\+(?P<local>[a-z0-9]+(?:[-_.][a-z0-9]+)*))?
    """,
    re.VERBOSE,
)
_PRE = {"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc"}


def normalize(version: str) -> str:
    """Spell a version the one way that all equal versions share: "v1.0.0-Alpha_1" becomes "1a1".

    Trailing zeros are left out, so this is for comparing and not for showing. What is no version by PEP 440
    is returned in lower case.
    """
    text = version.strip().lower()
    match = _VERSION.fullmatch(text)
    if match is None:
        return text
    release = [str(int(number)) for number in match["release"].split(".")]
    while len(release) > 1 and release[-1] == "0":
        release.pop()
    result = f"{int(match['epoch'] or 0)}!" if int(match["epoch"] or 0) else ""
    result += ".".join(release)
    if match["pre"]:
        result += _PRE.get(match["pre"], match["pre"]) + str(int(match["pre_number"] or 0))
    if match["post_short"] or match["post"]:
        result += f".post{int(match['post_short'] or match['post_number'] or 0)}"
    if match["dev"]:
        result += f".dev{int(match['dev_number'] or 0)}"
    if match["local"]:
        parts = re.split("[-_.]", match["local"])
        result += "+" + ".".join(str(int(part)) if part.isdecimal() else part for part in parts)
    return result


def is_same(version: str, other: str) -> bool:
    """Whether two versions are equal, one without a local part being equal to the same with one.

    A wheel's file name may have a local part that its metadata lack; installers let that pass.
    """
    first, second = normalize(version), normalize(other)
    if first == second:
        return True
    return ("+" in first) != ("+" in second) and first.partition("+")[0] == second.partition("+")[0]
