"""What libraries need and nothing offers them."""

from __future__ import annotations

import platform
import string

import pytest
from elf import Reader, to_json
from elf_factory import Symbol, elf
from links import Root, find_unmet, normalized, required
from wheel_factory import MINOR

ARCHITECTURE = platform.machine()
TRIPLET = f"usr/lib/{ARCHITECTURE}-linux-gnu"
SITE = f"lib/python{MINOR}/site-packages"
PYTHON = f"/usr/bin/python{MINOR}"


class Image:
    """A root with a few libraries of its own, and packages."""

    def __init__(self, root):
        self.root = root
        self.packages = []
        (root / TRIPLET).mkdir(parents=True)
        (root / "lib").symlink_to("usr/lib")
        self.add(f"{TRIPLET}/libc.so.6", elf(soname="libc.so.6", versions=("libc.so.6", "GLIBC_2.36")))
        self.add(
            PYTHON,
            elf(("libc.so.6", "libexpat.so.1"), symbols=("PyList_New",), kind=2),
        )
        self.add(f"{TRIPLET}/libexpat.so.1", elf(("libc.so.6",), "libexpat.so.1", symbols=("XML_Parse",)))

    def add(self, path, data):
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def package(self, name, libraries, requires=(), version="1.0"):
        found = []
        for path, data in libraries.items():
            reader = Reader()
            reader.update(data)
            found.append(to_json(reader.library, path if path.startswith("lib/") else f"{SITE}/{path}"))
        package = {"name": name, "version": version, "libraries": found, "requires": list(requires)}
        self.packages.append({key: value for key, value in package.items() if value})

    def unmet(self):
        return find_unmet(self.packages, Root(self.root, ARCHITECTURE), PYTHON)

    def told(self):
        """Of each need the library that has it, below site-packages, its kind and what is missing."""
        return [(one.library.rpartition("/site-packages/")[2], one.kind, one.names) for one in self.unmet()]


@pytest.fixture
def image(tmp_path):
    return Image(tmp_path)


def missing(path, soname):
    return [(path, "library", (soname,))]


def test_all_is_told_of_a_need_that_nothing_meets(image):
    image.package("demo", {"demo/_c.so": elf(("libGL.so.1", "libc.so.6"))}, version="2.1")
    [one] = image.unmet()
    path = f"/opt/venv/{SITE}/demo/_c.so"
    assert one == ("demo", "2.1", path, "library", ("libGL.so.1",), "", frozenset({path}), frozenset())


def test_an_image_whose_packages_have_no_libraries_lacks_nothing(image):
    image.package("demo", {})
    assert image.unmet() == []


@pytest.mark.parametrize("folder", [TRIPLET, "usr/lib"])
def test_a_library_in_a_default_folder_of_the_root_is_found(image, folder):
    image.add(f"{folder}/libGL.so.1", elf(soname="libGL.so.1"))
    image.package("demo", {"demo/_c.so": elf(("libGL.so.1",))})
    assert image.unmet() == []


def test_a_library_that_is_a_link_in_the_root_is_found(image):
    image.add("usr/share/gl/libGL.so.1.7.0", elf())
    (image.root / TRIPLET / "libGL.so.1").symlink_to("/etc/gl")
    (image.root / "etc").mkdir()
    (image.root / "etc/gl").symlink_to("../usr/share/gl/libGL.so.1.7.0")
    image.package("demo", {"demo/_c.so": elf(("libGL.so.1",))})
    assert image.unmet() == []


def test_a_link_to_nothing_is_no_library(image):
    (image.root / TRIPLET / "libGL.so.1").symlink_to("libGL.so.1.7.0")
    image.package("demo", {"demo/_c.so": elf(("libGL.so.1",))})
    assert image.told() == missing("demo/_c.so", "libGL.so.1")


def test_folders_that_the_root_s_loader_is_told_of_are_looked_in(image):
    image.add("etc/ld.so.conf", b"include /etc/ld.so.conf.d/*.conf\n")
    image.add("etc/ld.so.conf.d/blas.conf", b"/usr/lib/blas\n")
    image.add("usr/lib/blas/libblas.so.3", elf(soname="libblas.so.3"))
    image.package("demo", {"demo/_c.so": elf(("libblas.so.3",))})
    assert image.unmet() == []


def test_another_folder_of_the_root_is_not_looked_in(image):
    image.add("usr/lib/mesa/libGL.so.1", elf(soname="libGL.so.1"))
    image.package("demo", {"demo/_c.so": elf(("libGL.so.1",))})
    assert image.told() == missing("demo/_c.so", "libGL.so.1")


@pytest.mark.parametrize("key", ["runpath", "rpath"])
@pytest.mark.parametrize(
    "folders", ["$ORIGIN/../other", "${ORIGIN}/../other", "/nowhere:$ORIGIN/../other/", ":$ORIGIN/../other"]
)
def test_a_library_of_an_unrelated_package_is_found_along_a_path(image, key, folders):
    image.package("other", {"other/libz.so": elf()})
    image.package("demo", {"demo/_c.so": elf(("libz.so",), **{key: folders})})
    assert image.unmet() == []


def test_a_library_of_the_root_is_found_along_a_path(image):
    image.add("usr/lib/mesa/libGL.so.1", elf())
    image.package("demo", {"demo/_c.so": elf(("libGL.so.1",), runpath="/usr/lib/mesa")})
    assert image.unmet() == []


def test_where_there_is_a_runpath_the_rpath_does_not_count(image):
    image.package("other", {"other/libz.so": elf()})
    image.package(
        "demo", {"demo/_c.so": elf(("libz.so",), rpath="$ORIGIN/../other", runpath="$ORIGIN/../empty")}
    )
    assert image.told() == missing("demo/_c.so", "libz.so")


def test_the_library_along_the_path_is_the_one_whose_versions_count(image):
    image.add(f"{TRIPLET}/libstdc++.so.6", elf(versions=("libstdc++.so.6", "GLIBCXX_3.4.30")))
    library = elf(
        ("libstdc++.so.6",), needs={"libstdc++.so.6": ("GLIBCXX_3.4.31",)}, runpath="$ORIGIN/../demo.libs"
    )
    image.package(
        "demo",
        {
            "demo/_c.so": library,
            "demo.libs/libstdc++.so.6": elf(versions=("libstdc++.so.6", "GLIBCXX_3.4.31")),
        },
    )
    assert image.unmet() == []


@pytest.mark.parametrize("folder", ["nvidia/cuda_runtime/lib", "nvidia/cu13/lib", "nvidia/lib"])
def test_parts_of_cuda_are_found_where_the_image_s_loader_looks(image, folder):
    image.package("nvidia-cuda-runtime", {f"{folder}/libcudart.so.12": elf(soname="libcudart.so.12")})
    image.package("demo", {"demo/_c.so": elf(("libcudart.so.12",))})
    assert image.unmet() == []


def test_a_library_below_such_a_folder_is_not_found(image):
    image.package("nvidia-cuda-runtime", {"nvidia/cuda_runtime/lib/more/libcudart.so.12": elf()})
    image.package("demo", {"demo/_c.so": elf(("libcudart.so.12",))})
    assert image.told() == missing("demo/_c.so", "libcudart.so.12")


def test_a_package_s_own_library_is_found_wherever_it_is(image):
    image.package("demo", {"demo/_c.so": elf(("libz.so",)), "elsewhere/libz.so": elf()})
    assert image.unmet() == []


def test_a_library_is_found_by_its_soname_as_well(image):
    image.package(
        "demo", {"demo/_c.so": elf(("libz.so.1",)), "demo.libs/libz-abc.so": elf(soname="libz.so.1")}
    )
    assert image.unmet() == []


@pytest.mark.parametrize("requirement", ["other", "Other", "other>=1", "other [x] ; python_version < '4'"])
def test_a_library_of_a_required_package_is_found(image, requirement):
    image.package("demo", {"demo/_c.so": elf(("libz.so",))}, [requirement])
    image.package("other", {"other/lib/libz.so": elf()})
    assert image.unmet() == []


def test_a_library_of_what_a_required_package_requires_is_found(image):
    image.package("demo", {"demo/_c.so": elf(("libz.so",))}, ["middle"])
    image.package("middle", {}, ["My_Other.Package"])
    image.package("my-other-package", {"other/libz.so": elf()}, ["demo"])
    assert image.unmet() == []


def test_a_library_of_an_unrelated_package_is_not_found(image):
    image.package("demo", {"demo/_c.so": elf(("libz.so",))})
    image.package("other", {"other/libz.so": elf()}, ["demo"])
    assert image.told() == missing("demo/_c.so", "libz.so")


def test_the_driver_s_libraries_come_from_the_machine(image):
    image.package("demo", {"demo/_c.so": elf(("libcuda.so.1", "libnvidia-ml.so.1", "libcuda.so"))})
    assert image.told() == missing("demo/_c.so", "libcuda.so")


def test_the_driver_s_symbols_are_expected_of_it_where_its_libraries_are_needed(image):
    wanted = ("cuInit", "nvmlInit", "cudaMalloc", "cublasCreate", "cute")
    image.package("demo", {"demo/_c.so": elf(("libcuda.so.1",), undefined=wanted)})
    assert image.told() == [("demo/_c.so", "symbol", ("cublasCreate", "cudaMalloc", "cute"))]


def test_the_driver_s_symbols_may_be_had_by_another_library_s_need(image):
    image.package(
        "demo",
        {"demo/_c.so": elf(("libz.so",), undefined=("cuInit",)), "demo/libz.so": elf(("libcuda.so.1",))},
    )
    assert image.unmet() == []


def test_the_driver_s_symbols_are_missing_where_nothing_needs_the_driver(image):
    image.package("demo", {"demo/_c.so": elf(undefined=("cuInit",))})
    assert image.told() == [("demo/_c.so", "symbol", ("cuInit",))]


def test_a_version_that_the_library_lacks_is_told_with_the_library(image):
    needs = {"libc.so.6": ("GLIBC_2.36", "GLIBC_2.38", "GLIBC_2.39")}
    image.package("demo", {"demo/_c.so": elf(("libc.so.6",), needs=needs, optional=("GLIBC_2.39",))})
    [one] = image.unmet()
    assert (one.kind, one.names, one.provider) == ("version", ("GLIBC_2.38",), "libc.so.6")


def test_a_library_without_versions_passes_for_one_that_has_them(image):
    image.add(f"{TRIPLET}/libz.so.1", elf(soname="libz.so.1"))
    image.package("demo", {"demo/_c.so": elf(("libz.so.1",), needs={"libz.so.1": ("ZLIB_1.3",)})})
    assert image.unmet() == []


def test_of_a_library_that_is_missing_no_versions_are_told(image):
    image.package("demo", {"demo/_c.so": elf(("libz.so.1",), needs={"libz.so.1": ("ZLIB_1.3",)})})
    assert image.told() == missing("demo/_c.so", "libz.so.1")


def test_symbols_that_nothing_has_are_told_together(image):
    wanted = ("b_symbol", "a_symbol", Symbol("weak", weak=True))
    image.package("demo", {"demo/_c.so": elf(("libc.so.6",), undefined=wanted)})
    assert image.told() == [("demo/_c.so", "symbol", ("a_symbol", "b_symbol"))]


@pytest.mark.parametrize("hashed", ["gnu", "sysv"])
def test_a_symbol_may_be_in_any_library_of_the_package(image, hashed):
    image.package(
        "demo",
        {"demo/_c.so": elf(undefined=("found",)), "demo/_d.so": elf(symbols=("found",), hashed=hashed)},
    )
    assert image.unmet() == []


def test_a_symbol_may_be_in_a_package_that_is_required(image):
    image.package("demo", {"demo/_c.so": elf(undefined=("found",))}, ["middle"])
    image.package("middle", {}, ["torch"])
    image.package("torch", {"torch/lib/libtorch.so": elf(symbols=("found",))})
    assert image.unmet() == []


def test_a_symbol_of_an_unrelated_package_is_missing(image):
    image.package("demo", {"demo/_c.so": elf(undefined=("found",))})
    image.package("torch", {"torch/lib/libtorch.so": elf(symbols=("found",))})
    assert image.told() == [("demo/_c.so", "symbol", ("found",))]


def test_python_and_its_libraries_have_symbols_for_everything(image):
    image.package("demo", {"demo/_c.so": elf(undefined=("PyList_New", "XML_Parse", "PyNothing"))})
    assert image.told() == [("demo/_c.so", "symbol", ("PyNothing",))]


def test_a_symbol_may_be_in_what_the_root_s_libraries_need_in_turn(image):
    image.add(f"{TRIPLET}/libGL.so.1", elf(("libX11.so.6",), "libGL.so.1"))
    image.add(f"{TRIPLET}/libX11.so.6", elf(("libGL.so.1",), "libX11.so.6", symbols=("XOpenDisplay",)))
    image.package("demo", {"demo/_c.so": elf(("libGL.so.1",), undefined=("XOpenDisplay",))})
    assert image.unmet() == []


def test_a_symbol_of_a_library_of_the_root_that_nothing_needs_is_missing(image):
    image.add(f"{TRIPLET}/libX11.so.6", elf(soname="libX11.so.6", symbols=("XOpenDisplay",)))
    image.package("demo", {"demo/_c.so": elf(undefined=("XOpenDisplay",))})
    assert image.told() == [("demo/_c.so", "symbol", ("XOpenDisplay",))]


def test_the_root_s_libraries_that_a_required_package_needs_have_symbols_too(image):
    image.add(f"{TRIPLET}/libX11.so.6", elf(soname="libX11.so.6", symbols=("XOpenDisplay",)))
    image.package("demo", {"demo/_c.so": elf(undefined=("XOpenDisplay",))}, ["other"])
    image.package("other", {"other/_x.so": elf(("libX11.so.6",))})
    assert image.unmet() == []


def test_no_symbols_are_told_where_a_library_that_may_have_them_is_missing(image):
    image.package(
        "demo",
        {
            "demo/_a.so": elf(("libb.so",), undefined=("of_c",)),
            "demo/libb.so": elf(("libc_missing.so",)),
            "demo/_other.so": elf(undefined=("of_c",)),
        },
    )
    assert image.told() == [
        ("demo/_other.so", "symbol", ("of_c",)),
        *missing("demo/libb.so", "libc_missing.so"),
    ]


def test_users_are_all_that_cannot_be_loaded_without_it(image):
    image.package(
        "demo",
        {
            "demo/libbase.so": elf(("libGL.so.1",)),
            "demo/libmiddle.so": elf(("libbase.so",)),
            "demo/_c.so": elf(("libmiddle.so",)),
            "demo/_unrelated.so": elf(("libc.so.6",)),
        },
    )
    image.package("user", {"user/_u.so": elf(("libbase.so",))}, ["demo"])
    [one] = image.unmet()
    assert {path.rpartition("/site-packages/")[2] for path in one.users} == {
        "demo/libbase.so",
        "demo/libmiddle.so",
        "demo/_c.so",
        "user/_u.so",
    }


def test_needs_are_the_other_packages_whose_libraries_it_needs_directly_or_not(image):
    image.package("demo", {"demo/_c.so": elf(("liba.so", "libGL.so.1"))}, ["a", "unused"])
    image.package("a", {"a/liba.so": elf(("libb.so",))}, ["b"])
    image.package("b", {"b/libb.so": elf()})
    image.package("unused", {"unused/libu.so": elf()})
    [one] = image.unmet()
    assert one.needs == {"a", "b"}


def test_libraries_that_need_each_other_are_no_trouble(image):
    image.package(
        "demo",
        {
            "demo/liba.so": elf(("libb.so",), undefined=("nowhere",)),
            "demo/libb.so": elf(("liba.so", "libGL.so.1")),
        },
        ["demo"],
    )
    [one] = image.unmet()
    assert (one.names, len(one.users)) == (("libGL.so.1",), 2)


def test_needs_are_told_in_one_order(image):
    libraries = {f"demo/{letter}.so": elf(("libGL.so.1", "libEGL.so.1")) for letter in "cab"}
    image.package("zeta", {"zeta/z.so": elf(("libGL.so.1",))})
    image.package("demo", libraries)
    told = [(one.package, one.library, one.names) for one in image.unmet()]
    assert len(told) == 7
    assert told == sorted(told)


def test_what_is_no_library_of_the_root_offers_nothing_but_its_name(image):
    image.add(f"{TRIPLET}/libm.so", b"/* GNU ld script */")
    image.package("demo", {"demo/_c.so": elf(("libm.so",), undefined=("sin",))})
    assert image.told() == [("demo/_c.so", "symbol", ("sin",))]


def test_a_root_without_the_program_is_searched_all_the_same(image):
    (image.root / PYTHON.lstrip("/")).unlink()
    image.package("demo", {"demo/_c.so": elf(undefined=("PyList_New",))})
    assert image.told() == [("demo/_c.so", "symbol", ("PyList_New",))]


def test_what_packages_require_is_followed_as_far_as_it_is_in_the_image():
    packages = [
        {"name": "a", "requires": ["B>1", "gone"]},
        {"name": "b", "requires": ["c_d; extra == 'x'"]},
        {"name": "c-d", "requires": ["a"]},
        {"name": "unrelated"},
    ]
    assert required(packages, ["a", "nowhere"]) == {"a", "b", "c-d"}
    assert required(packages, []) == set()


@pytest.mark.parametrize(
    ("requirement", "name"),
    [
        ("torch==2.13.0", "torch"),
        ("Foo._-Bar[x,y] (>=1)", "foo-bar"),
        ("typing.extensions ; python_version < '3.11'", "typing-extensions"),
        ("pkg@ https://example.org/pkg.zip", "pkg"),
        ("", ""),
        (string.punctuation, ""),
    ],
)
def test_a_requirement_has_a_normalized_name(requirement, name):
    assert normalized(requirement) == name
