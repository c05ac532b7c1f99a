"""Machine types: those there are, those that users add, and what an app may say of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from builder.cli import cli
from builder.errors import DeclarationError
from builder.machines import check_machines, known_machines

if TYPE_CHECKING:
    from pathlib import Path

    from builder.machines import Machine


@pytest.fixture(autouse=True)
def nothing_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config/builder/machines.toml"


def check(
    root: Path, *names: str, num_gpus: int | None = None, cuda: str | None = None
) -> tuple[Machine, ...]:
    return check_machines(names, num_gpus, cuda=cuda, root=root, where=lambda key: f"app.py:3: Up.{key}")


def refused(root: Path, *names: str, num_gpus: int | None = None, cuda: str | None = None) -> str:
    with pytest.raises(DeclarationError) as caught:
        check(root, *names, num_gpus=num_gpus, cuda=cuda)
    return f"{caught.value} {caught.value.hint}"


def project(root: Path, text: str) -> None:
    (root / "pyproject.toml").write_text(text)


@pytest.mark.parametrize(
    ("name", "capability", "architecture"),
    [
        ("XS", None, "x86_64"),
        ("XL", None, "x86_64"),
        ("GPU", "8.0", "x86_64"),
        ("GPU-A100-80GB", "8.0", "x86_64"),
        ("V100", "7.0", "x86_64"),
        ("GPU-T4", "7.5", "x86_64"),
        ("GPU-A6000", "8.6", "x86_64"),
        ("GPU-L40", "8.9", "x86_64"),
        ("GPU-H200", "9.0", "x86_64"),
        ("GPU-GH200", "9.0", "aarch64"),
        ("GPU-B200", "10.0", "x86_64"),
        ("GB200", "10.0", "aarch64"),
        ("GPU-B300", "10.3", "x86_64"),
        ("GPU-RTXPRO6000", "12.0", "x86_64"),
    ],
)
def test_a_machine_type_says_its_gpu_and_its_processor(
    tmp_path: Path, name: str, capability: str | None, architecture: str
) -> None:
    (machine,) = check(tmp_path, name)
    assert (machine.capability, machine.architecture) == (capability, architecture)


def test_every_type_says_where_it_is_known_from(tmp_path: Path) -> None:
    machines = known_machines(tmp_path)
    assert len(machines) > 25
    assert all(machine.source and machine.date for machine in machines.values())
    assert all((machine.gpu is None) == (machine.first_cuda is None) for machine in machines.values())


def test_volta_ends_with_cuda_12_and_blackwell_begins_with_12_8(tmp_path: Path) -> None:
    volta, blackwell = check(tmp_path, "V100", "GPU-RTX5090")
    assert (volta.last_cuda, volta.last_driver) == ("12.9", "580")
    assert (blackwell.first_cuda, blackwell.last_cuda, blackwell.driver) == ("12.8", None, "570")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("GPU-H1000", "GPU-H100"),
        ("h100", "GPU-H100"),
        ("gpu-a100-40gb", "GPU-A100-40GB"),
        ("Q", None),
    ],
)
def test_an_unknown_type_is_refused_with_the_nearest_names(
    tmp_path: Path, name: str, near: str | None
) -> None:
    text = refused(tmp_path, "L", name)
    assert text.startswith(f"app.py:3: Up.machine_type: there is no machine type {name!r}.")
    assert "builder machines" in text
    assert (f"Did you mean {near}" in text) if near else ("Did you mean" not in text)


@pytest.mark.parametrize("number", [0, 9, -1])
def test_there_are_1_to_8_gpus(tmp_path: Path, number: int) -> None:
    text = refused(tmp_path, "GPU-H100", num_gpus=number)
    assert text.startswith(f"app.py:3: Up.num_gpus must be 1 to 8, not {number}")
    for right in (1, 8):
        assert check(tmp_path, "GPU-H100", num_gpus=right)


@pytest.mark.parametrize("cuda", ["runtime", "devel"])
def test_cuda_is_for_machines_of_which_one_has_a_gpu(tmp_path: Path, cuda: str) -> None:
    text = refused(tmp_path, "S", "L", cuda=cuda)
    assert text.startswith(f'app.py:3: Up.cuda is "{cuda}", and a machine of the type S has no GPU')
    assert check(tmp_path, "GPU-H100", "L", cuda=cuda)
    assert check(tmp_path, "S", cuda="none")


def test_a_type_without_gpu_has_none_to_ask_for(tmp_path: Path) -> None:
    text = refused(tmp_path, "GPU-H100", "L", num_gpus=2)
    assert "Up.num_gpus is 2, and a machine of the type L has no GPU" in text


def test_processors_exclude_each_other_by_name(tmp_path: Path) -> None:
    text = refused(tmp_path, "GPU-H100", "GPU-GH200")
    assert "GPU-H100 has an x86_64 processor and GPU-GH200 an aarch64 one: no image runs on both" in text


def test_projects_and_users_describe_their_own(tmp_path: Path, nothing_of_the_user: Path) -> None:
    project(
        tmp_path,
        """
        [tool.builder.machines]
        lab = { gpu = "RTX 4090", memory = 256 }
        GPU-NEW = { gpu = "X1", capability = "9.0", driver = "600" }
        L = { memory = 16, cores = 4 }
        """,
    )
    nothing_of_the_user.parent.mkdir(parents=True)
    nothing_of_the_user.write_text('desk = { gpu = "T4" }\nlab = { gpu = "T4" }\n')
    lab, new, desk, large = check(tmp_path, "lab", "NEW", "desk", "L")
    assert (lab.capability, lab.memory, new.first_cuda, new.driver) == ("8.9", 256, "11.8", "600")
    assert (desk.capability, large.memory) == ("7.5", 16)
    assert lab.source == str(tmp_path / "pyproject.toml")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("lab = 3", "lab is not a table"),
        ('lab = { gpus = "H100" }', "gpus is not known of a machine type There are: gpu, "),
        ('lab = { gpu = "H1" }', "the GPU 'H1' is not known Write its compute capability"),
        (
            'lab = { gpu = "H1", capability = "9.9" }',
            "the compute capability '9.9' is not known There are: 7.0",
        ),
        ('lab = { gpu = "H1", capability = 9.0 }', "capability must be a string"),
        ('lab = { capability = "9.0" }', "capability is of a GPU, and there is none"),
        ('lab = { memory = "8" }', "memory must be a number, not '8'"),
        ('lab = { architecture = "riscv64" }', "the architecture is x86_64 or aarch64, not 'riscv64'"),
    ],
)
def test_what_is_malformed_is_named_with_its_file(tmp_path: Path, table: str, said: str) -> None:
    project(tmp_path, f"[tool.builder.machines]\n{table}\n")
    text = refused(tmp_path, "lab")
    assert text.startswith(f"{tmp_path / 'pyproject.toml'}: lab")
    assert said in text


def test_the_command_lists_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(cli, ["machines"], catch_exceptions=False).output.splitlines()
    assert shown[0].split()[:3] == ["type", "GPU", "capability"]
    (row,) = (line.split() for line in shown if line.startswith("GPU-H100 "))
    assert row == ["GPU-H100", "H100", "9.0", "11.8", "on", "80", "112", "12", "x86_64"]
    listed = json.loads(CliRunner().invoke(cli, ["machines", "--json"], catch_exceptions=False).output)
    (h100,) = (machine for machine in listed if machine["name"] == "GPU-H100")
    assert (h100["capability"], h100["video_memory"]) == ("9.0", 80)
