"""Requirement lists of public apps, for their machines and Python, with what each is known by."""

from __future__ import annotations

import subprocess
import sys

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# The spaCy model and PyTorch's own index, which two of the lists name, are on hosts that not every machine reaches.
LISTS = {
    "Voice": (
        "L",
        [
            "kokoro==0.8.4",
            "soundfile==0.13.1",
            "misaki[en]==0.8.4",
            "misaki[ja]==0.8.4",
            "misaki[zh]==0.8.4",
            "numpy==1.26.4",
        ],
        {"kokoro": "0.8.4", "misaki": "0.8.4", "numpy": "1.26.4", "torch": None, "unidic-lite": None},
    ),
    "Diffusion": (
        "GPU-H100",
        [
            "torch==2.4.0",
            "diffusers==0.30.3",
            "transformers==4.46.0",
            "tokenizers==0.20.1",
            "sentencepiece",
            "peft==0.12.0",
            "safetensors==0.4.4",
            "accelerate==1.4.0",
            "pyzmq==26.0.0",
            "huggingface_hub==0.26.5",
            "fal-client",
        ],
        {"torch": "2.4.0", "diffusers": "0.30.3", "huggingface-hub": "0.26.5", "nvidia-cublas-cu12": None},
    ),
    "Faces": (
        ["GPU-RTX5090", "GPU-A6000", "GPU-A100"],
        [
            ["torch==2.8.0", "torchvision==0.23.0"],
            [
                "onnxruntime-gpu==1.19.2",
                "opencv-python-headless==4.10.0.84",
                "pillow==10.4.0",
                "numpy==1.26.4",
            ],
        ],
        {"torch": "2.8.0", "torchvision": "0.23.0", "onnxruntime-gpu": "1.19.2", "pillow": "10.4.0"},
    ),
    "Video": (
        "GPU-H100",
        ["aiortc", "av", "numpy", "opencv-python", "ultralytics"],
        {"aiortc": None, "av": None, "opencv-python": None, "ultralytics": None, "torch": None},
    ),
}


@pytest.fixture(scope="module")
def lists(session_project):
    project = session_project("lists")
    for name, (machine, requirements, _) in LISTS.items():
        # What opencv-python needs of the system.
        more = {"system_packages": ["libgl1", "libglib2.0-0"]} if name == "Video" else {}
        project.app(requirements, name=f"{name.lower()}.py", class_name=name, machine_type=machine, **more)
    return project


@pytest.mark.parametrize("name", LISTS)
def test_a_public_list_locks_as_it_is_written(lists, name):
    lists.run("lock", f"{name.lower()}.py")
    lock = tomllib.loads((lists.folder / f"pylock.{name.lower()}.toml").read_text())
    versions = {package["name"]: package["version"] for package in lock["packages"]}
    for package, version in LISTS[name][2].items():
        assert version in (None, versions[package])


IMPORTS = {
    # unidic-lite, which misaki[ja] needs, has no wheel.
    "Voice": "import kokoro, soundfile, misaki.en, misaki.zh, unidic_lite, os\n"
    "assert os.path.isdir(unidic_lite.DICDIR), unidic_lite.DICDIR\n",
    "Video": "import aiortc, av, numpy, cv2, torch, ultralytics\n",
}


@pytest.mark.parametrize("name", IMPORTS)
def test_a_public_list_is_built_and_its_packages_import_in_the_container(lists, name):
    app = f"{name.lower()}.py"
    image = lists.build(app)["image_id"]
    try:
        done = lists.run("run", app, "--", "python", "-c", IMPORTS[name] + "print('imported')")
    finally:
        # The engine's copy takes as much of the disk as the image in the store.
        subprocess.run(["podman", "rmi", "--force", image], capture_output=True, check=False)
    assert done.out.split()[-1] == "imported"
