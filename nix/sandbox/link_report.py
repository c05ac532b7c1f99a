"""Says in words what `link_check` reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_SHOWN_NEEDS = 5
_SHOWN_LIBRARIES = 6


def labels(optional: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What an image says of needs that fail no import: `builder.link.optional`."""
    texts: dict[tuple[str, str], list[str]] = {}
    for one in optional:
        title = f"{one['package']} {one['version']}"
        texts.setdefault((title, one["name"]), []).append(one["library"])
    entries = [
        f"{title}: {name} for {libraries[0]}" + (f" and {len(libraries) - 1} more" if libraries[1:] else "")
        for (title, name), libraries in sorted(texts.items())
    ]
    return {"builder.link.optional": "; ".join(entries)} if entries else {}


def complaint(failures: Sequence[Mapping[str, Any]]) -> str | None:
    """What to say of needs that fail an import; None where there are none."""
    lines = list(_complaints(failures))
    if len(lines) > _SHOWN_LIBRARIES:
        lines[_SHOWN_LIBRARIES:] = [f"and {len(lines) - _SHOWN_LIBRARIES} more libraries lack something"]
    return "\n".join(lines) or None


def _complaints(failures: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each library that an import failed over."""
    libraries: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for one in failures:
        libraries.setdefault((one["module"], one["library"]), []).append(one)
    for (module, library), some in libraries.items():
        needs = ", ".join(map(_need, some[:_SHOWN_NEEDS]))
        if len(some) > _SHOWN_NEEDS:
            needs += f" and {len(some) - _SHOWN_NEEDS} more"
        reason = next((one["reason"] for one in some if one["reason"]), "nothing in the image has it")
        title = f"{some[0]['package']} {some[0]['version']}"
        yield f"{module} cannot be imported: {library} of {title} needs {needs}; {reason}"


def _need(one: Mapping[str, Any]) -> str:
    if one["kind"] == "version":
        return f"{one['name']} of {one['provider']}"
    if one["kind"] == "symbol":
        return f"the symbol {one['name']}" + (f" and {one['more']} more" if one["more"] else "")
    return str(one["name"])
