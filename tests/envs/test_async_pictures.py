"""Vector environments with pictures: a forked worker says at once what to do, and that works."""

import os

import pytest

from envs import backend
from envs.rendering import _gl_context


def test_a_forked_process_says_spawn_at_once_instead_of_waiting_for_gl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_egl_in", os.getpid() + 1)  # as a fork of another process finds it
    assert backend.forked()
    with pytest.raises(RuntimeError, match=r'forked from one that had loaded EGL.*context="spawn"'):
        _gl_context(8, 8)


def test_gl_chosen_here_is_no_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_egl_in", os.getpid())
    assert not backend.forked()


@pytest.mark.parametrize(
    ("device", "visible", "message"),
    [
        ("0", "1", "MUJOCO_EGL_DEVICE_ID=0 is not among CUDA_VISIBLE_DEVICES=1.*unset MUJOCO_EGL_DEVICE_ID"),
        ("7", "", "MUJOCO_EGL_DEVICE_ID=7: EGL has 2 devices here, numbered 0 to 1; unset it or choose one"),
        ("x", "", "MUJOCO_EGL_DEVICE_ID=x: EGL has 2 devices"),
    ],
)
def test_an_egl_device_that_cannot_be_is_named(
    monkeypatch: pytest.MonkeyPatch, device: str, visible: str, message: str
) -> None:
    from experiments.models.doctor import PROBLEM, rendering

    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setenv("MUJOCO_EGL_DEVICE_ID", device)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(backend, "egl_devices", lambda: 2)
    with pytest.raises(ImportError, match=message):
        backend.require_device()
    found = rendering()  # the doctor looks where a run looks
    assert found.level == PROBLEM and found.fix.startswith("unset") and "libegl" not in found.fix
    monkeypatch.delenv("MUJOCO_EGL_DEVICE_ID")  # the way out
    backend.require_device()
