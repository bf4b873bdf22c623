"""scripts/setup.sh and the Makefile on machines that lack something, with stand-ins for Python, apt, df and id.

The stand-ins answer what such a machine would answer and write down how they were called, so nothing is installed or
downloaded here. That setup works for real is shown by the environment these tests run in.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement

from tests import ROOT

TOOLS = """
awk bash cat chmod cksum cp cut dirname du env grep head make mkdir rm sed sh tail tee touch uname
"""

FAKE_PYTHON = """#!/bin/bash
echo "python $*" >>"$CALLS"
case "$*" in
-V) echo "Python 3.11.9" ;;
"-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
*"import evdev"* | *importlib.metadata*) exit 1 ;;
"scripts/check_system.py "*) [[ -e "$STATE/installed" || " $MISSING " != *" $2 "* ]] ;;
scripts/torch_plan.py*) echo "$PLAN" ;;
*--only-binary*) exit 1 ;;
*"-e ."*) [[ -z "$OFFLINE" ]] || { echo "$OFFLINE"; exit 1; } ;;
esac
"""
BROKEN_SHIM = "#!/bin/bash\necho 'pyenv: command not found' >&2\nexit 127\n"
APT_GET = '#!/bin/bash\necho "apt-get $*" >>"$CALLS"\n[[ "$1" != install ]] || touch "$STATE/installed"\n'
APT_CACHE = (
    '#!/bin/bash\n[[ " python3.11-venv libglib2.0-0t64 " != *" $2 "* ]] || printf "%s:\\n  Candidate: 1\\n" "$2"\n'
)
NO_GL = {"MISSING": "egl osmesa cv2 compiler headers"}


class Machine:
    """A checkout (with a space in its path) and a PATH that holds only what the test puts there."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.checkout, self.bin, self.calls = folder / "a checkout", folder / "bin", folder / "calls"
        self.checkout.mkdir()
        self.bin.mkdir()
        for name in ("pyproject.toml", "constraints.txt", "Makefile"):
            shutil.copy(ROOT / name, self.checkout)
        shutil.copytree(ROOT / "scripts", self.checkout / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        for name in TOOLS.split():
            (self.bin / name).symlink_to(shutil.which(name))
        self.calls.touch()
        self.env = {"PATH": str(self.bin), "HOME": str(folder / "no home"), "CALLS": str(self.calls)}
        self.env |= {"STATE": str(folder), "MISSING": "", "PLAN": "CPU 200", "OFFLINE": ""}
        self.has("python3.11", FAKE_PYTHON)
        self.has("df", "#!/bin/bash\necho head\necho disk 0 0 $((${FREE_MB:-50000} * 1024)) 0 /\n")
        self.user(0)
        self.has("apt-get", APT_GET)
        self.has("apt-cache", APT_CACHE)

    def has(self, name: str, text: str) -> None:
        (self.bin / name).unlink(missing_ok=True)
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def user(self, uid: int) -> None:
        self.has("id", f"#!/bin/bash\necho {uid}\n")

    def make(self, *arguments: str, **env: str) -> tuple[int, str]:
        """(exit status, everything printed) of `make ...`."""
        done = subprocess.run(
            ["make", *arguments], cwd=self.checkout, env=self.env | env, capture_output=True, text=True, timeout=60
        )
        return done.returncode, done.stdout + done.stderr

    def called(self, what: str) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if what in line]


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    return Machine(tmp_path)


def error_of(output: str) -> str:
    lines = [line for line in output.splitlines() if "ERROR" in line]
    assert len(lines) == 1, output
    return lines[0]


def test_help_is_the_default_and_names_every_target(machine):
    status, output = machine.make()
    assert status == 0
    assert set(re.findall(r"make ([\w-]+)", output)) == {
        "help",
        "setup",
        "setup-dev",
        "simpler",
        "recap",
        "test",
        "lint",
        "docs",
    }


def test_torch_comes_first_and_pinned_and_its_index_serves_it_alone(machine):
    status, output = machine.make("setup", "TORCH_INDEX_URL=https://torch.invalid/cpu")
    assert status == 0, output
    installs = [
        c for c in machine.called("-m pip --no-input install") if "dry-run" not in c and " pip setuptools" not in c
    ]
    torch, rest = installs
    pin = re.search(r"^torch==[\d.]+$", (ROOT / "constraints.txt").read_text(), re.M).group()
    assert pin in torch and "--index-url https://torch.invalid/cpu" in torch
    assert "-c constraints.txt -e .[all]" in rest and "torch.invalid" not in rest
    assert machine.calls.read_text().count("torch.invalid") == 2  # the look at its size and the install


def test_a_second_run_does_nothing_until_something_changes(machine):
    assert machine.make("setup")[0] == 0
    first = len(machine.called("pip"))
    assert "up to date" in machine.make("setup")[1]
    assert len(machine.called("pip")) == first
    assert "up to date" not in machine.make("setup-dev")[1]  # the tools are not there yet
    assert machine.called("-e .[all,dev]")
    assert "up to date" in machine.make("setup")[1]  # what the plain setup wants is there
    with open(machine.checkout / "constraints.txt", "a") as f:
        f.write("tqdm==4.0\n")
    assert "up to date" not in machine.make("setup")[1]


def test_a_shim_that_fails_is_passed_over(machine):
    machine.has("python3.11", BROKEN_SHIM)
    machine.has("python3.12", BROKEN_SHIM)
    machine.has("python3", FAKE_PYTHON)
    status, output = machine.make("setup")
    assert status == 0, output


def test_without_a_python_a_user_is_told_one_command(machine):
    for name in ("python3.11", "python3.12", "python3"):
        machine.has(name, BROKEN_SHIM)
    machine.user(1000)
    status, output = machine.make("setup")
    assert status != 0
    expected = "; run: sudo apt-get update && sudo apt-get install -y python3.11 python3.11-venv"
    assert error_of(output).endswith(expected)
    assert not machine.called("apt-get") and not (machine.checkout / ".venv").exists()


def test_without_a_python_root_asks_apt(machine):
    machine.has("python3.11", BROKEN_SHIM)
    machine.has("apt-get", APT_GET + f'[[ "$1" != install ]] || cp {machine.bin}/good {machine.bin}/python3.11\n')
    machine.has("good", FAKE_PYTHON)
    status, output = machine.make("setup")
    assert status == 0, output
    update, install = machine.called("apt-get")
    assert "update" in update and install.endswith("python3.11 python3.11-venv")


def test_without_libraries_a_user_is_told_one_command(machine):
    machine.user(1000)
    status, output = machine.make("setup", **NO_GL)
    assert status != 0 and not machine.called("apt-get")
    command = error_of(output).split("; run: ")[1]
    assert command.startswith("sudo apt-get update && sudo apt-get install -y")
    wanted = "libegl1 libegl-mesa0 libgl1-mesa-dri libgl1 libglib2.0-0t64 gcc libc6-dev linux-libc-dev"
    assert wanted in command  # libglib2.0-0t64 is the name this distribution knows


def test_without_libraries_root_installs_them_after_an_update(machine):
    status, output = machine.make("setup", **NO_GL)
    assert status == 0, output
    update, install = machine.called("apt-get")
    assert "update" in update and "libegl1" in install


def test_osmesa_alone_is_enough(machine):
    assert machine.make("setup", MISSING="egl")[0] == 0
    assert not machine.called("apt-get")


@pytest.mark.parametrize(("free", "plan", "needed"), [("3000", "CPU 200", "4000"), ("6000", "CUDA 2950", "10000")])
def test_too_little_disk_stops_before_the_download(machine, free, plan, needed):
    status, output = machine.make("setup", FREE_MB=free, PLAN=plan)
    assert status != 0 and f"needs {needed} MB free" in error_of(output) and f"has {free} MB" in error_of(output)
    assert not machine.called("torch==")


def test_cuda_torch_is_announced_with_its_size(machine):
    status, output = machine.make("setup", PLAN="CUDA 2950")
    assert status == 0 and "2950 MB to download" in output


@pytest.mark.parametrize(
    ("pip_says", "reason"),
    [
        ("ERROR: Could not find a version of tqdm", "Could not find a version of tqdm"),
        ("WARNING: Retrying after connection broken by\nERROR: conflicting dependencies", "index cannot be reached"),
        ("ERROR: Could not install: [Errno 28] No space left", "no space left"),
    ],
)
def test_a_failing_download_is_one_line_with_what_to_do(machine, pip_says, reason):
    status, output = machine.make("setup", OFFLINE=pip_says)
    assert status != 0
    assert reason in error_of(output) and "run make setup again" in error_of(output)
    assert not (machine.checkout / ".venv" / "setup-stamp").exists()


def test_packages_that_refuse_each_other_are_not_called_done(machine):
    status, output = machine.make("setup", MISSING="packages")
    assert status != 0 and "remove .venv" in error_of(output)
    assert not (machine.checkout / ".venv" / "setup-stamp").exists()


@pytest.mark.parametrize(
    ("files", "plan"),
    [
        (["torch-2.13.0-py3-none-any.whl"], "CUDA 2610"),  # 400 MB and the CUDA libraries
        (
            ["torch-2.13.0-py3-none-any.whl", "torch-2.13.0+cpu-py3-none-any.whl"],
            "CPU 400",
        ),  # pip prefers the local one
        (["torch-2.12.0-py3-none-any.whl"], ""),
    ],
)
def test_the_torch_plan_names_what_pip_would_take(tmp_path, files, plan):
    for name in files:
        with open(tmp_path / name, "wb") as f:
            f.truncate(400_000_000)  # sparse: takes no room
    env = os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": tmp_path.as_uri(), "PIP_CONFIG_FILE": os.devnull}
    command = [sys.executable, str(ROOT / "scripts" / "torch_plan.py"), "2.13.0"]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.stdout.strip() == plan
    assert (done.returncode == 0) == bool(plan) and (plan or "finds no torch 2.13.0" in done.stderr), done.stderr


def test_every_requirement_has_one_tested_version_inside_its_range():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    pins = {}
    for line in lines:
        match = re.fullmatch(r"([\w.-]+)==([\w.]+)", line)  # no local version (+cpu), no path
        assert match, f"constraints.txt: {line!r} is not an exact public version"
        pins[re.sub(r"[-_.]+", "-", match[1]).lower()] = match[2]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + [r for name in ("train", "robosuite", "sb3", "dev") for r in extras[name]]
    for text in wanted:
        requirement = Requirement(text)
        pin = pins[requirement.name.lower()]
        assert requirement.specifier.contains(pin), f"{text}: constraints.txt has {pin}"
