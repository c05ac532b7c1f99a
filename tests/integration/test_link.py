"""Libraries that packages need: added where Debian or CUDA has them, told where the image would not work."""

from __future__ import annotations

import json

import pytest
import tomllib
from elf_factory import elf
from wheel_factory import make_wheel


def lock_of(project, app="app"):
    return tomllib.loads((project.folder / f"pylock.{app}.toml").read_text())["tool"]["builder"]


def python(project, code, **more):
    return project.run("run", "app.py", "--", "python", "-c", code, **more)


# What each needs is not in the base, and no wheel brings it. Its import is the loader's own answer.
NEEDY = {
    "opencv-python==4.12.0.88": ("cv2", {"libgl1", "libglib2.0-0"}),
    "pyodbc==5.3.0": ("pyodbc", {"libodbc2"}),
    "lightgbm==4.6.0": ("lightgbm", {"libgomp1"}),
    "PyQt6==6.9.1": ("PyQt6.QtWidgets", {"libgl1", "libegl1", "libxkbcommon0", "libfontconfig1"}),
}


@pytest.mark.parametrize(("requirement", "module", "debian"), [(key, *value) for key, value in NEEDY.items()])
def test_what_an_import_lacks_is_added_shown_and_locked(project, requirement, module, debian):
    project.app([requirement])
    done = project.run("build", "app.py", "--json")
    added = lock_of(project)["additions"]
    names = {entry["name"] for entry in added}
    assert debian <= names
    assert all(f"{name} (" in done.err for name in names)
    assert debian <= {deb["package"] for deb in lock_of(project)["base"]["extra"]}
    assert python(project, f"import {module}; print({module}.__name__)").out.strip() == module
    # It is locked: the next build adds nothing and is the same image.
    digest = json.loads(done.out)["digest"]
    again = project.run("build", "app.py", "--frozen", "--json")
    assert (json.loads(again.out)["digest"], again.err) == (digest, "")


def test_a_package_built_from_source_gets_the_library_it_was_linked_to(project):
    # libpq-dev's pg_config is a Perl script.
    project.app(["psycopg2==2.9.10", "soundfile==0.13.1"], build_packages=["libpq-dev"])
    project.build()
    assert [entry["name"] for entry in lock_of(project)["additions"]] == ["libpq5"]
    assert python(project, "import psycopg2, soundfile; print('both')").out.strip() == "both"
    # What is not needed any more goes.
    project.app(["soundfile==0.13.1"])
    project.build()
    assert "additions" not in lock_of(project)
    assert lock_of(project)["base"]["extra"] == []


def test_an_app_may_name_its_debian_packages_itself(project):
    project.app(["pyodbc==5.3.0"], system_packages_auto=False)
    done = project.run("build", "app.py", check=False)
    assert done.code == 6
    assert (
        "pyodbc cannot be imported: pyodbc.cpython-311-x86_64-linux-gnu.so of pyodbc 5.3.0 needs" in done.err
    )
    assert 'Debian has it: system_packages = ["libodbc2"]' in done.err
    project.app(["pyodbc==5.3.0"], system_packages_auto=False, system_packages=["libodbc2"])
    project.build()
    assert python(project, "import pyodbc; print('there')").out.strip() == "there"


def test_a_lock_that_lacks_what_a_build_would_add_is_said_to(project):
    project.app(["pyodbc==5.3.0"])
    project.run("lock", "app.py")
    before = (project.folder / "pylock.app.toml").read_bytes()
    done = project.run("build", "app.py", "--frozen", check=False)
    assert done.code == 6
    assert "run `builder build` without --frozen, and commit the lock" in done.err
    assert (project.folder / "pylock.app.toml").read_bytes() == before


def test_packages_that_lack_nothing_are_not_spoken_of_and_nothing_is_added(project):
    project.app(["numpy==2.3.5", "pillow==12.0.0", "scipy==1.16.3", "psycopg2-binary==2.9.11"])
    done = project.run("build", "app.py", "--json")
    assert done.err == ""
    assert not any(label.startswith("builder.link") for label in json.loads(done.out)["labels"])
    assert lock_of(project)["base"]["extra"] == []
    assert "additions" not in lock_of(project)


def test_what_only_other_back_ends_lack_is_a_label_and_no_fault(project):
    project.app(["numba==0.62.1"])
    done = project.run("build", "app.py", "--json")
    assert done.err == ""
    assert (
        "libtbb.so.12 for numba/np/ufunc/tbbpool" in json.loads(done.out)["labels"]["builder.link.optional"]
    )
    assert python(project, "import numba; print(numba.njit(lambda x: x + 1)(1))").out.strip() == "2"


@pytest.mark.parametrize(
    ("requirements", "said"),
    [
        # The package index has torchvision for CUDA; torch here is the one for the CPU.
        (
            ["torch==2.13.0", "torchvision==0.28.0"],
            "torchvision 0.28.0 was built for another build of torch 2.13.0 with CUDA; the lock has torch 2.13.0+cpu",
        ),
        # The last torchtext was built for torch 2.3 and does not say so.
        (
            ["torch==2.13.0", "torchtext==0.18.0"],
            "libtorchtext.so of torchtext 0.18.0 needs the symbol _ZN3c1014DeviceTypeNameENS_10DeviceTypeEb and",
        ),
    ],
)
def test_a_package_built_for_another_torch_is_refused_in_words(project, requirements, said):
    project.app(requirements, machine_type="L")
    done = project.run("build", "app.py", check=False)
    assert done.code == 6
    assert said in done.err
    assert "the lock has torch 2.13.0+cpu" in done.err


def test_parts_of_cuda_that_no_package_brings_are_added_for_a_gpu(project):
    # A back end that is made for CUDA's runtime, in a package that does not say that it needs it.
    files = {"backend/__init__.py": "", "backend/libnew.so": elf(("libcudart.so.12",))}
    files["backend/libold.so"] = elf(("libcudart.so.11.0",))
    (project.folder / "wheels").mkdir()
    make_wheel(project.folder / "wheels", files, name="backend")
    project.app(["--find-links", "wheels", "backend"], machine_type="GPU-H100")
    done = project.run("build", "app.py", "--json")
    assert [(entry["name"], entry["package"]) for entry in lock_of(project)["additions"]] == [
        ("cuda-toolkit[cudart]==12.6.*", "backend")
    ]
    assert "cuda-toolkit[cudart]==12.6.* (libcudart.so.12 for backend)" in done.err
    labels = json.loads(done.out)["labels"]
    assert (labels["builder.cuda"], labels["builder.cuda.driver"]) == ("12.6", "525.60.13")
    code = (
        "import ctypes, os; assert 'LD_LIBRARY_PATH' not in os.environ; print(ctypes.CDLL('libcudart.so.12'))"
    )
    assert "libcudart.so.12" in python(project, code).out
    # For a machine without a GPU it is not needed.
    project.app(["--find-links", "wheels", "backend"], machine_type="L")
    project.build()
    assert "additions" not in lock_of(project)
