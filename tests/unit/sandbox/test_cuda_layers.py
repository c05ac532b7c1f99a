"""The layers that make CUDA found: of packages' libraries, and of a toolkit."""

from __future__ import annotations

import io
import subprocess
import tarfile

import cuda_layer
import pytest
import toolkit_layer
from estargz import LayerError, LayerWriter, write_layer_json
from wheel_factory import read_layer

SITE = "opt/venv/lib/python3.11/site-packages"
RUNTIME_12 = [
    "nvidia/__init__.py",
    "nvidia/cuda_runtime/include/cuda.h",
    "nvidia/cuda_runtime/lib/libcudart.so.12",
]
NVCC_13 = [
    "nvidia/cu13/bin/nvcc",
    "nvidia/cu13/bin/crt/link.stub",
    "nvidia/cu13/include/crt/host.h",
    "nvidia/cu13/lib/__init__.py",
    "nvidia/cu13/nvvm/bin/cicc",
]
RUNTIME_13 = [
    "nvidia/cu13/include/cuda.h",
    "nvidia/cu13/lib/libcudart.so.13",
    "nvidia/cu13/lib/libcudart_static.a",
]


def part(tmp_path, name, files, soname=None):
    """The layer of a package, as wheel_layer.py makes it."""
    out = tmp_path / name
    out.mkdir()
    with LayerWriter(out / "blob") as layer:
        for file in files:
            layer.add_file(f"{SITE}/{file}", file.encode())
    libraries = [
        {
            "path": f"{SITE.removeprefix('opt/venv/')}/{file}",
            "soname": soname or file.rpartition("/")[2],
            "needed": [],
        }
        for file in files
        if ".so" in file
    ]
    write_layer_json(out, layer.info, [{"name": name, "version": "1.0", "libraries": libraries}])
    return str(out)


def cuda(tmp_path, parts, name="cuda", **spec):
    root = tmp_path / "root"
    root.mkdir(exist_ok=True)
    given = {
        "root": str(root),
        "architecture": "x86_64",
        "parts": parts,
        "home": None,
        "toolkit": None,
        "hides_functions": False,
    }
    cuda_layer.build({**given, **spec, "out": str(tmp_path / name)})
    return read_layer(tmp_path / name)


def links(layer):
    return {name: entry.link for name, entry in layer.entries.items() if entry.link}


def archive(tmp_path, component, files, symlinks=()):
    folder = f"{component}-linux-x86_64-12.4.131-archive"
    path = tmp_path / f"{folder}.tar.xz"
    with tarfile.open(path, "w:xz") as tar:
        for name in files:
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size, member.mode = len(name), 0o755 if name.startswith("bin/") else 0o644
            tar.addfile(member, io.BytesIO(name.encode()))
        for name, target in symlinks:
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return {"path": str(path), "component": component, "version": "12.4.131"}


def toolkit(tmp_path, archives, parts=()):
    spec = {"version": "12.4", "archives": archives, "parts": list(parts), "prefix": "usr/local/cuda"}
    toolkit_layer.build({**spec, "out": str(tmp_path / "toolkit")})
    return read_layer(tmp_path / "toolkit")


def test_the_loader_is_told_of_packages_folders_twice(tmp_path):
    layer = cuda(tmp_path, [part(tmp_path, "runtime", RUNTIME_12), part(tmp_path, "plain", ["nvidia/x.py"])])
    folder = f"/{SITE}/nvidia/cuda_runtime/lib"
    assert layer.entries["etc/ld.so.conf.d/builder-cuda.conf"].data.decode() == f"{folder}\n"
    assert f"{folder}/libcudart.so.12\0".encode() in layer.entries["etc/ld.so.cache"].data
    assert set(layer.entries) == {"etc/ld.so.conf.d/builder-cuda.conf", "etc/ld.so.cache"}


def test_a_library_of_which_nothing_is_known_is_called_as_its_file(tmp_path):
    file = "nvidia/cusparselt/lib/libcusparseLt.so.0"
    one = tmp_path / "one"
    one.mkdir()
    with LayerWriter(one / "blob") as layer:
        layer.add_file(f"{SITE}/{file}", b"")
    write_layer_json(one, layer.info, [{"name": "one", "version": "1.0"}])
    made = cuda(tmp_path, [str(one)])
    assert f"/{SITE}/{file}\0".encode() in made.entries["etc/ld.so.cache"].data


def test_a_file_that_is_called_otherwise_than_its_library_is_not_listed(tmp_path):
    layer = part(tmp_path, "one", ["nvidia/one/lib/libone.so.1.2"], soname="libone.so.1")
    assert not cuda(tmp_path, [layer]).entries


def test_the_systems_own_loader_library_reads_the_list(tmp_path):
    layer = cuda(tmp_path, [part(tmp_path, "runtime", RUNTIME_12)])
    file = tmp_path / "ld.so.cache"
    file.write_bytes(layer.entries["etc/ld.so.cache"].data)
    listed = subprocess.run(
        ["/sbin/ldconfig", "-C", file, "-p"], capture_output=True, text=True, check=True
    ).stdout
    assert f"libcudart.so.12 (libc6,x86-64) => /{SITE}/nvidia/cuda_runtime/lib/libcudart.so.12" in listed


def test_a_toolkit_of_packages_is_links_that_lead_to_them(tmp_path):
    parts = [part(tmp_path, "nvcc", NVCC_13), part(tmp_path, "runtime", RUNTIME_13)]
    found = links(cuda(tmp_path, parts, home="usr/local/cuda"))
    source = f"/{SITE}/nvidia/cu13"
    assert found == {
        # nvcc looks for its parts beside its own name, so its folder is a real one.
        "usr/local/cuda/bin/nvcc": f"{source}/bin/nvcc",
        "usr/local/cuda/bin/crt": f"{source}/bin/crt",
        "usr/local/cuda/include/crt": f"{source}/include/crt",
        "usr/local/cuda/include/cuda.h": f"{source}/include/cuda.h",
        "usr/local/cuda/lib/libcudart.so.13": f"{source}/lib/libcudart.so.13",
        "usr/local/cuda/lib/libcudart.so": "libcudart.so.13",
        "usr/local/cuda/lib/libcudart_static.a": f"{source}/lib/libcudart_static.a",
        "usr/local/cuda/lib64": "lib",
        "usr/local/cuda/nvvm/bin": f"{source}/nvvm/bin",
    }


def test_a_folder_that_two_packages_share_is_a_real_one(tmp_path):
    one = part(tmp_path, "one", ["nvidia/a/include/crt/a.h"])
    two = part(tmp_path, "two", ["nvidia/b/include/crt/b.h"])
    found = links(cuda(tmp_path, [one, two], home="usr/local/cuda"))
    assert found["usr/local/cuda/include/crt/a.h"] == f"/{SITE}/nvidia/a/include/crt/a.h"
    assert found["usr/local/cuda/include/crt/b.h"] == f"/{SITE}/nvidia/b/include/crt/b.h"


def test_a_library_of_a_package_is_not_taken_from_an_archive(tmp_path):
    runtime = part(tmp_path, "runtime", RUNTIME_12)
    names = ["include/cuda.h", "include/new.h", "lib/libcudart.so.12.4.127", "lib/libcudart_static.a"]
    names += ["lib/stubs/libcudart.so", "lib/libother.so.1", "LICENSE"]
    same = [("lib/libcudart.so.12", "libcudart.so.12.4.127"), ("lib/libcudart.so", "libcudart.so.12")]
    layer = toolkit(tmp_path, [archive(tmp_path, "cuda_cudart", names, same)], [runtime])
    assert set(layer.entries) == {
        "usr/local/cuda/include/new.h",
        "usr/local/cuda/lib/libcudart_static.a",
        "usr/local/cuda/lib/libother.so.1",
        "usr/local/cuda/lib/stubs/libcudart.so",
        "usr/local/cuda/licenses/cuda_cudart-linux-x86_64-12.4.131-archive/LICENSE",
    }
    assert layer.facts["libraries"] == ["libother.so.1"]
    assert layer.facts["contents"] == [{"name": "cuda_cudart", "version": "12.4.131"}]


def test_links_fill_in_what_the_archives_do_not_have(tmp_path):
    runtime = part(tmp_path, "runtime", RUNTIME_12)
    archives = [archive(tmp_path, "cuda_nvcc", ["bin/nvcc", "include/crt/host.h", "nvvm/bin/cicc"])]
    made = toolkit(tmp_path, archives, [runtime])
    assert made.entries["usr/local/cuda/bin/nvcc"].mode == 0o755
    found = links(cuda(tmp_path, [runtime], home="usr/local/cuda", toolkit=str(tmp_path / "toolkit")))
    assert set(found) == {
        "usr/local/cuda/include/cuda.h",
        "usr/local/cuda/lib/libcudart.so.12",
        "usr/local/cuda/lib/libcudart.so",
        "usr/local/cuda/lib64",
    }


def test_a_header_hides_functions_only_where_that_is_asked_for(tmp_path):
    runtime = [part(tmp_path, "runtime", RUNTIME_13)]
    hiding = cuda(tmp_path, runtime, "hiding", home="usr/local/cuda", hides_functions=True)
    name = "usr/local/cuda/glibc/bits/libc-header-start.h"
    assert b"#include_next <bits/libc-header-start.h>" in hiding.entries[name].data
    assert name not in cuda(tmp_path, runtime, home="usr/local/cuda").entries


@pytest.mark.parametrize("name", ["../outside", "bin/../../x"])
def test_an_archive_stays_in_its_place(tmp_path, name):
    with pytest.raises(LayerError, match="is no path of a toolkit"):
        toolkit(tmp_path, [archive(tmp_path, "cuda_nvcc", [name])])


def test_a_damaged_archive_is_named(tmp_path):
    one = archive(tmp_path, "cuda_nvcc", ["bin/nvcc"])
    path = tmp_path / "cuda_nvcc-linux-x86_64-12.4.131-archive.tar.xz"
    path.write_bytes(path.read_bytes()[:90])
    with pytest.raises(LayerError, match="the archive of cuda_nvcc is damaged"):
        toolkit(tmp_path, [one])
