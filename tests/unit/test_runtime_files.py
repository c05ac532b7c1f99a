from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builder.models import AppSpec, Endpoint
from builder.runtime_files import image_modules, runtime_requirements


def spec(**fields: Any) -> AppSpec:
    here = Path("/app")
    return AppSpec(
        name="up",
        class_name="Up",
        file=here / "app.py",
        root=here,
        local_python="3.11",
        requirements_context_dir=here,
        **fields,
    )


SERVED = (Endpoint(method="go", path="/"),)


def test_an_image_has_the_declaration_and_the_runtime_and_nothing_else_of_this_package() -> None:
    modules = image_modules()
    assert {"builder/__init__.py", "builder/app.py", "builder/py.typed"} <= modules.keys()
    assert "builder/runtime/__main__.py" in modules
    assert all(name.startswith("builder/runtime/") or name.count("/") == 1 for name in modules)
    assert "builder/models.py" not in modules
    assert all(file.is_file() and str(file).endswith(name) for name, file in modules.items())


def test_what_is_in_an_image_imports_nothing_of_this_package_that_is_not() -> None:
    modules = image_modules()
    inside = {name[: -len(".py")].removesuffix("/__init__").replace("/", ".") for name in modules}
    imported = {
        line.split()[1]
        for file in modules.values()
        for line in map(str.strip, file.read_text().splitlines())
        if line.startswith(("from builder", "import builder"))
    }
    assert imported
    assert imported <= inside


def test_endpoints_require_fastapi_and_uvicorn() -> None:
    assert runtime_requirements(spec(endpoints=SERVED)) == ["fastapi", "uvicorn"]


def test_an_app_without_endpoints_requires_nothing_more() -> None:
    assert runtime_requirements(spec()) == []


def test_a_fal_app_requires_its_sdk() -> None:
    assert runtime_requirements(spec(kind="fal", endpoints=SERVED)) == ["fal"]


@pytest.mark.parametrize(
    "word",
    [
        "fastapi",
        "FastAPI==0.115.0",
        "fastapi[standard] >=0.100",
        "fastapi; sys_platform == 'linux'",
        "fastapi @ https://example.org/fastapi-0.115.0-py3-none-any.whl",
        "https://example.org/w/fastapi-0.115.0-py3-none-any.whl#sha256=00",
        "./wheels/fastapi-0.115.0-py3-none-any.whl",
    ],
)
def test_what_the_app_requires_itself_is_not_required_twice(word: str) -> None:
    found = runtime_requirements(spec(endpoints=SERVED, requirements=(("numpy",), (word,))))
    assert found == ["uvicorn"]


@pytest.mark.parametrize("word", ["fastapi-utils==1", "fal-client", "https://example.org/fastapi"])
def test_a_name_that_only_begins_alike_is_another(word: str) -> None:
    assert runtime_requirements(spec(endpoints=SERVED, requirements=((word,),))) == ["fastapi", "uvicorn"]
    assert runtime_requirements(spec(kind="fal", requirements=((word,),))) == ["fal"]
