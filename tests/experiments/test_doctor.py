"""The doctor: every check can find its fault and says what to do; the exit code follows."""

from __future__ import annotations

import collections
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.models import doctor as checks
from experiments.models import examine as doctor
from tests.helpers.commands import foresight

Usage = collections.namedtuple("Usage", "total used free")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("MUJOCO_GL", "OMP_NUM_THREADS", "MS_ASSET_DIR", "VK_ICD_FILENAMES", "VK_DRIVER_FILES"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def old_python(patch: Any, place: Path) -> None:
    patch.setattr(sys, "version_info", (3, 9, 1))


def no_package(patch: Any, place: Path) -> None:
    patch.setattr(checks, "NEEDED", ("numpy", "no-such-package"))


def other_version(patch: Any, place: Path) -> None:
    patch.setattr(checks, "pinned", lambda path: {"numpy": "0.1"})


def no_gl(patch: Any, place: Path) -> None:
    patch.setattr(checks, "run", lambda *_, **__: (False, "no display"))


def no_vulkan_loader(patch: Any, place: Path) -> None:
    patch.setattr(checks.importlib.util, "find_spec", lambda name: object())
    patch.setattr(checks, "probe", lambda *_, **__: (False, "libvulkan.so.1: cannot open"))


def no_vulkan_driver(patch: Any, place: Path) -> None:
    no_vulkan_loader(patch, place)
    patch.setattr(checks, "probe", lambda *_, **__: (True, ""))
    patch.setattr(checks, "ICD_FOLDERS", (str(place),))


def no_sapien(patch: Any, place: Path) -> None:
    patch.setattr(checks.importlib.util, "find_spec", lambda name: None)


def crashing(patch: Any, place: Path) -> None:
    patch.setattr(checks, "probe", lambda *_, **__: (False, "killed by signal 11"))


def no_cuda(patch: Any, place: Path) -> None:
    patch.setattr(checks, "probe", lambda *_, **__: (True, "none None"))
    patch.setattr(shutil, "which", lambda name: "/usr/bin/nvidia-smi")


def no_h264(patch: Any, place: Path) -> None:
    patch.setattr(checks, "probe", lambda *_, **__: (True, "h264: False"))


def full_disk(patch: Any, place: Path) -> None:
    patch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, 10_000))


def nearly_full_disk(patch: Any, place: Path) -> None:
    patch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, 2 * checks.GB))


def little_memory(patch: Any, place: Path) -> None:
    patch.setattr(checks.os, "sysconf", lambda name: 1000)


def many_threads(patch: Any, place: Path) -> None:
    patch.setenv("OMP_NUM_THREADS", "16")


def empty_assets(patch: Any, place: Path) -> None:
    patch.setenv("MS_ASSET_DIR", str(place / "nothing here"))


def no_assets(patch: Any, place: Path) -> None:
    patch.setattr(Path, "home", lambda: place)


def closed_folder(patch: Any, place: Path) -> None:
    def refuse(**_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    patch.setattr(checks.tempfile, "TemporaryFile", refuse)


FAULTS = [
    (checks.python, old_python, "problem", "Python 3.11 or 3.12"),
    (checks.packages, no_package, "problem", "make setup"),
    (checks.packages, other_version, "warning", "pip install -e '.[all]' -c constraints.txt"),
    (checks.rendering, no_gl, "problem", "apt-get install -y libegl1"),
    (checks.vulkan, no_vulkan_loader, "problem", "libvulkan1"),
    (checks.vulkan, no_vulkan_driver, "problem", "mesa-vulkan-drivers"),
    (checks.vulkan, no_sapien, "note", "extra [simpler]"),
    (checks.gpu, crashing, "problem", "make setup"),
    (checks.gpu, no_cuda, "warning", "install its driver"),
    (checks.disk, full_disk, "problem", "free at least 1 GB"),
    (checks.disk, nearly_full_disk, "warning", "cache/"),
    (checks.memory, little_memory, "warning", "workers=1"),
    (checks.threads, many_threads, "warning", "export OMP_NUM_THREADS=1"),
    (checks.assets, empty_assets, "problem", "unset MS_ASSET_DIR"),
    (checks.assets, no_assets, "note", "MS_ASSET_DIR"),
    (checks.folders, closed_folder, "problem", "writable"),
    (checks.video, crashing, "problem", "make setup"),
    (checks.video, no_h264, "problem", "force-reinstall av"),
]


def test_every_check_has_a_forced_fault() -> None:
    assert {check for check, *_ in FAULTS} == set(checks.CHECKS)


@pytest.mark.parametrize(("check", "fault", "level", "fix"), FAULTS, ids=lambda x: getattr(x, "__name__", None))
def test_a_fault_is_found_and_its_fix_is_one_line(
    check: Any, fault: Any, level: str, fix: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fault(patch, place)
        found = check()
    assert (found.level, fix in found.fix) == (level, True), found
    assert "\n" not in found.fix + found.found


def test_a_process_that_dies_is_a_finding() -> None:
    assert checks.probe("import os; os.kill(os.getpid(), 11)") == (False, "killed by signal 11")
    assert checks.probe("import time; time.sleep(60)", seconds=0.2)[0] is False
    assert checks.probe("print('a'); print('b')") == (True, "b")


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("note", 0), ("warning", 0), ("problem", 1)])
def test_the_exit_code_and_the_json(
    level: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "CHECKS", (lambda: checks.Finding("a", level, "[found]", "fix it"),))
    assert foresight("doctor", "json=true") == code
    report = json.loads(capsys.readouterr().out)
    assert report["healthy"] is (code == 0) and report["checks"][0]["fix"] == "fix it"
    assert foresight("doctor") == code
    assert "[found]" in (shown := capsys.readouterr().out) and "fix it" in shown


def test_a_check_that_fails_itself_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> checks.Finding:
        raise RuntimeError("surprise")

    monkeypatch.setattr(doctor, "CHECKS", (broken,))
    assert doctor.examine()[0].level == "problem" and "surprise" in doctor.examine()[0].found


def test_the_quick_checks_say_something_here() -> None:
    for check in (checks.python, checks.packages, checks.disk, checks.memory, checks.threads, checks.folders):
        found = check()
        assert found.level in doctor.COLOURS and found.found
