"""Runs trials on the original SIMPLER for a sweep of this project; needs simpler_env, numpy, websockets and msgpack.

    python original_worker.py ws://127.0.0.1:8001

It stands alone, so that it can be copied to a machine or an environment where the original is installed (Python 3.10,
numpy 1) and this project is not. The sweep sends trials and actions, this sends observations and rows; all of it is
msgpack with numpy arrays as in openpi-client. Nothing that is received can run code.
"""

import contextlib
import sys
import time
import traceback

import msgpack
import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

KINDS = "biuf"  # numbers
MAX_MESSAGE = 64 << 20  # bytes
PATIENCE = 60.0  # s, for which the sweep is tried


def pack(message):
    """A message as msgpack bytes, arrays included."""
    return msgpack.packb(message, default=_encode)


def _encode(value):
    if isinstance(value, np.generic):
        value = value.item()
        if isinstance(value, (bool, int, float, str)):
            return value
    if not isinstance(value, np.ndarray) or value.dtype.kind not in KINDS:
        raise ValueError(f"cannot send {type(value).__name__}")
    return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}


def unpack(data):
    """The message in msgpack bytes."""
    return msgpack.unpackb(data, object_hook=_decode)


def _decode(raw):
    if b"__ndarray__" not in raw:
        return raw
    dtype = np.dtype(raw[b"dtype"])
    if dtype.kind not in KINDS:
        raise ValueError(f"array of {dtype} is refused")
    return np.frombuffer(raw[b"data"], dtype).reshape(raw[b"shape"])


def observed(env, obs):
    """What the policy may see: the camera's picture, the instruction, and the hand."""
    from simpler_env.utils.env.observation_utils import get_image_from_maniskill2_obs_dict

    return {
        "image": np.ascontiguousarray(get_image_from_maniskill2_obs_dict(env, obs)[..., :3], dtype=np.uint8),
        "prompt": env.get_language_instruction(),
        "tcp_pose": np.asarray(obs["extra"]["tcp_pose"], np.float64),  # world, x y z and quaternion wxyz
        "base_pose": np.asarray(obs["agent"]["base_pose"], np.float64),
        "qpos": np.asarray(obs["agent"]["qpos"], np.float64),
    }


class Worker:
    """One environment at a time, built anew only for another task."""

    def __init__(self, socket):
        self.socket, self.name, self.env = socket, None, None

    def make(self, name):
        """Make the environment of a task, in place of the one before."""
        if name != self.name:
            import simpler_env

            if self.env is not None:
                self.env.close()
            self.name, self.env = None, simpler_env.make(name)
            self.name = name
        return self.env

    def ask(self, message):
        """Send one observation and return the answer of the other side."""
        self.socket.send(pack(message))
        return unpack(self.socket.recv())

    def run(self, trial):
        """Roll one trial out and return its row; None where the sweep gave it up."""
        env = self.make(trial["make"])
        obs, _ = env.reset(seed=trial["seed"], options=trial["options"])
        success, ever, truncated, steps = False, False, False, 0
        chunk, used = (), 0
        while not truncated and steps < trial["max_steps"]:
            if used == len(chunk):
                answer = self.ask({"observation": observed(env, obs), "step": steps})
                if "actions" not in answer:
                    return None
                chunk, used = answer["actions"], 0
            if steps == trial["advance_at"] and not env.is_final_subtask():
                env.advance_to_next_subtask()
            obs, _, success, truncated, _ = env.step(np.asarray(chunk[used], np.float64))
            ever, steps, used = ever or bool(success), steps + 1, used + 1
        return {"final": bool(success), "any": ever, "steps": steps, "instruction": env.get_language_instruction()}


def serve(url):
    """Take trials from the sweep until it has no more."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            opened = connect(url, compression=None, max_size=MAX_MESSAGE, ping_interval=None)
            break
        except OSError as error:
            if time.monotonic() > deadline:
                sys.exit(f"original_worker: {url} cannot be reached ({error}); is the sweep running?")
            time.sleep(0.5)
    with opened as socket, contextlib.suppress(ConnectionClosed):
        worker = Worker(socket)
        message = worker.ask({"ready": True})
        while "trial" in message:
            key = message["trial"]["key"]
            try:
                row = worker.run(message["trial"])
            except ConnectionClosed:
                raise
            except Exception as error:
                traceback.print_exc()
                message = worker.ask({"key": key, "error": f"{type(error).__name__}: {error}"})
                worker.name = None  # what is half built is not used again
                continue
            message = worker.ask({"key": key, "row": row})


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python original_worker.py ws://HOST:PORT")
    try:
        serve(sys.argv[1])
    except KeyboardInterrupt:  # the sweep says what there is to say
        sys.exit(130)
