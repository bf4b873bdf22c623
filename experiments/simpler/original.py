"""`backend=simpler_env`: the sweep's trials on the original SIMPLER, in a Python of its own.

The sweep listens on this machine; experiments/simpler/original_worker.py runs `simpler_env` and asks it for trials and
actions. Any policy of the sweep works: its observation is the original's picture, at the size the policy wants, and
the hand's pose and fingers as `SimplerEnv` gives them.

What the package offers through `simpler_env.make` is less than the protocol: one scene per task, the robot's colours
(and, for the drawers, the robot's place) drawn by the seed. So the trials are those of Visual Matching's first variant,
under the variant name "prepackaged"; the rest is reported as not run.
"""

from __future__ import annotations

import queue
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from agents.door import guard
from agents.remote import ServerError
from agents.requests import MAX_PROMPT
from envs.simpler.catalogue import SIMPLER_TASKS
from envs.simpler.env import CAMERA, GripperChanges, own_gripper, proprioception, simpler_spec
from envs.simpler.protocol import SimplerTrial
from episodes.files import one_line
from episodes.images import resized
from episodes.types import MAX_PIXELS, Observation
from episodes.wire import MAX_MESSAGE, REMOTE_EXTRA, pack, unpack
from experiments.loop.schemas import SimplerSweepConfig
from experiments.simpler.worker import drawn_size, make_actor, policy_spec, row_of

WORKER = Path(__file__).with_name("original_worker.py")
VARIANT = "prepackaged"
CANS = {name: f"google_robot_pick_{name}_coke_can" for name in ("horizontal", "vertical", "standing")}
NAMES = {
    "move_near": "google_robot_move_near",
    "place_apple": "google_robot_place_apple_in_closed_top_drawer",
    "widowx_eggplant_in_basket": "widowx_put_eggplant_in_basket",
    **{
        f"{way}_{d}_drawer": f"google_robot_{way}_{d}_drawer"
        for way in ("open", "close")
        for d in ("top", "middle", "bottom")
    },
}
FINGERS = {"google": (7, 8), "widowx": (7, 6)}  # right and left, in the original's joint order
ADVANCE = 100  # steps after which place_apple goes on to its second instruction, as the original does by itself
START = 300.0  # s until a worker has to be there
STEP = 600.0  # s without a word of it


def offered(plan: Sequence[SimplerTrial]) -> tuple[list[SimplerTrial], list[SimplerTrial]]:
    """The trials that the original's package offers, renamed, and those that it does not."""
    firsts: dict[tuple[str, str], str] = {}
    for trial in plan:
        firsts.setdefault((trial.group, trial.setting), trial.variant)
    kept: list[SimplerTrial] = []
    rest: list[SimplerTrial] = []
    for trial in plan:
        first = trial.setting == "visual_matching" and trial.variant == firsts[trial.group, trial.setting]
        (kept if first else rest).append(replace(trial, variant=VARIANT) if first else trial)
    if rest:
        print(f"not run: {len(rest)} trials of variants that simpler_env.make does not offer")
    return kept, rest


def asked(trial: SimplerTrial, number: int) -> dict[str, Any]:
    """What the worker is told of a trial: arguments of simpler_env.make and env.reset."""
    place = trial.placement
    name = CANS[place.orientation] if trial.task == "pick_coke_can" else NAMES.get(trial.task, trial.task)
    layout: dict[str, Any] = {}
    if place.xy is not None and trial.task == "pick_coke_can":
        layout = {"init_xy": list(place.xy)}
    elif place.episode is not None:
        layout = {"episode_id": place.episode}
    return {
        "key": trial.key,
        "make": name,
        "seed": number,  # of the robot's colours, and of what has no option
        "options": {"obj_init_options": layout} if layout else {},
        "max_steps": SIMPLER_TASKS[trial.task].max_steps,
        "advance_at": ADVANCE,
    }


def observation_of(message: Any, robot: str, size: tuple[int, int]) -> Observation:
    """The worker's observation as a policy of this project sees it; ServerError: what is wrong with it."""
    seen = message if isinstance(message, dict) else {}
    image, prompt = seen.get("image"), seen.get("prompt")
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ServerError("the worker of simpler_env sent no picture of uint8 (H, W, 3)")
    if not 1 <= min(image.shape[:2]) <= max(image.shape[:2]) <= MAX_PIXELS:
        raise ServerError(f"the worker of simpler_env sent a picture of {image.shape}")
    if not isinstance(prompt, str) or len(prompt) > MAX_PROMPT:
        raise ServerError("the worker of simpler_env sent no instruction, or an endless one")
    base, tip = _numbers(seen, "base_pose", 7), _numbers(seen, "tcp_pose", 7)
    if not (base[3:].any() and tip[3:].any()):
        raise ServerError("the worker of simpler_env sent a pose whose quaternion is zero")
    turn = _rotation(base[3:]).inv()
    wxyz = np.roll((turn * _rotation(tip[3:])).as_quat(), 1)
    fingers = _numbers(seen, "qpos", 1 + max(FINGERS[robot]))[list(FINGERS[robot])]
    state = proprioception(turn.apply(tip[:3] - base[:3]), wxyz, fingers)
    return Observation({CAMERA[robot]: resized(image, size)}, state, prompt)


def _numbers(seen: dict[str, Any], name: str, least: int) -> npt.NDArray[np.float64]:
    values = seen.get(name)
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiu" or values.ndim != 1 or len(values) < least:
        raise ServerError(f"the worker of simpler_env sent no {name} of {least} numbers")
    if not (np.abs(values) < 1e6).all():  # metres and radians; NaN and infinite ones are not below, either
        raise ServerError(f"the worker of simpler_env sent a {name} that cannot be")
    return values.astype(np.float64)


def row_from(message: dict[str, Any], trial: SimplerTrial, max_steps: int) -> dict[str, Any]:
    """The result columns in the worker's last message of a trial; ServerError: what is wrong with them."""
    row = message.get("row")
    if not isinstance(row, dict) or message.get("key") != trial.key:
        raise ServerError(f"the worker of simpler_env sent no row of {trial.key}")
    final, ever, steps, instruction = (row.get(name) for name in ("final", "any", "steps", "instruction"))
    if type(final) is not bool or type(ever) is not bool or (final and not ever):
        raise ServerError(f"the worker of simpler_env sent a row with final={_told(final)}, any={_told(ever)}")
    if type(steps) is not int or not 1 <= steps <= max_steps:
        raise ServerError(f"the worker of simpler_env sent a row with steps={_told(steps)}, expected 1 to {max_steps}")
    if not isinstance(instruction, str) or len(instruction) > MAX_PROMPT:
        raise ServerError("the worker of simpler_env sent a row without an instruction, or with an endless one")
    progress = 1.0 if ever else 0.0
    return {"final": final, "any": ever, "steps": steps, "instruction": instruction, "progress": progress}


def _told(value: Any) -> str:
    return one_line(f"{value!r:.40}")


def _rotation(wxyz: npt.NDArray[np.float64]) -> Rotation:
    return Rotation.from_quat(np.roll(wxyz, -1))


class Door:
    """Where the worker knocks: a websocket server on this machine that hands its connections to the sweep's thread."""

    def __init__(self, port: int) -> None:
        try:
            from websockets.sync.server import serve
        except ImportError as error:
            raise ImportError(f"backend=simpler_env needs websockets; install it with: {REMOTE_EXTRA}") from error
        self._come: queue.Queue[Any] = queue.Queue()
        self._leave = threading.Event()

        def meet(socket: Any) -> None:
            self._come.put(socket)
            self._leave.wait()

        self._server = serve(
            meet,
            "127.0.0.1",
            port,
            compression=None,
            max_size=MAX_MESSAGE,
            ping_interval=None,
            close_timeout=1.0,
            process_request=guard("127.0.0.1"),
        )
        self.url = f"ws://127.0.0.1:{self._server.socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def wait(self, process: subprocess.Popen[bytes] | None) -> Any:
        """The next connection; ServerError where none comes, or the worker that was started has ended."""
        waited = 0.0
        while waited < START:
            try:
                return self._come.get(timeout=0.5)
            except queue.Empty:
                waited += 0.5
                if process is not None and process.poll() is not None:
                    raise ServerError(f"the worker of simpler_env ended with status {process.returncode}") from None
        raise ServerError(f"no worker of simpler_env came to {self.url} within {START:g} s")

    def close(self) -> None:
        """Tell the worker to leave, and stop listening."""
        self._leave.set()
        self._server.shutdown()


def results(settings: SimplerSweepConfig, pending: Sequence[SimplerTrial]) -> Iterator[list[dict[str, Any]]]:
    """A row of each pending trial, one at a time; a trial without a result has an `error`."""
    door = Door(settings.listen)
    session = _Session(settings, door)
    try:
        for number, trial in enumerate(pending):
            row = row_of(trial, settings)
            for _ in range(settings.attempts):
                try:
                    row |= session.run(trial, number) | {"error": ""}
                    break
                except ServerError as error:
                    row["error"] = str(error)
            yield [row]
        session.dismiss()
    finally:
        session.close()
        door.close()


class _Session:
    """The worker at hand, and the policy of the task that it is at."""

    def __init__(self, settings: SimplerSweepConfig, door: Door) -> None:
        self.settings, self.door = settings, door
        self.size = drawn_size(settings)
        self.process: subprocess.Popen[bytes] | None = None
        self.socket: Any = None
        self.task = self.gripper = ""
        self.actor: Any = None
        if not settings.simpler_python:
            print(f"start the worker where simpler_env is installed: python {WORKER} {door.url}", flush=True)

    def _start_worker(self) -> None:
        if self.settings.simpler_python and (self.process is None or self.process.poll() is not None):
            try:
                self.process = subprocess.Popen([self.settings.simpler_python, str(WORKER), self.door.url])
            except OSError as error:
                raise ValueError(f"simpler_python={self.settings.simpler_python}: {error.strerror}") from error
        self.socket = self.door.wait(self.process)
        self._hear()  # that it is ready

    def _hear(self) -> dict[str, Any]:
        try:
            message = unpack(self.socket.recv(timeout=STEP))
        except Exception as error:  # gone, silent, or not speaking our words: all the same to the trial
            self._lose()
            raise ServerError(f"the worker of simpler_env is gone ({error or type(error).__name__})") from error
        if not isinstance(message, dict):
            self._lose()
            raise ServerError(f"the worker of simpler_env sent {type(message).__name__}")
        return message

    def _lose(self) -> None:
        if self.socket is not None:
            self.socket.close()
        self.socket = None

    def _tell(self, message: dict[str, Any]) -> dict[str, Any]:
        from websockets.exceptions import ConnectionClosed

        try:
            self.socket.send(pack(message))
        except ConnectionClosed as error:
            self._lose()
            raise ServerError(f"the worker of simpler_env is gone ({error})") from error
        return self._hear()

    def run(self, trial: SimplerTrial, number: int) -> dict[str, Any]:
        """The result columns of one trial; ServerError: the worker or the policy's server did not answer."""
        task = SIMPLER_TASKS[trial.task]
        if self.task != trial.task or self.actor is None:
            wanted = policy_spec(self.settings)
            self.gripper = wanted.gripper if wanted is not None else ""
            spec = simpler_spec(task, self.size, task.max_steps, gripper=self.gripper)
            self.actor, self.task = make_actor(self.settings, [_Slot(spec, task)]), trial.task
        if self.socket is None:
            self._start_worker()
        message = self._tell({"trial": asked(trial, number)})
        fresh = True
        changes = GripperChanges() if self.gripper not in ("", own_gripper(task.robot)) else None
        looks = 0
        while "observation" in message:
            looks += 1
            try:
                if looks > task.max_steps:
                    raise ServerError(f"the worker of simpler_env asked for more than {task.max_steps} actions")
                seen = observation_of(message["observation"], task.robot, self.size)
            except ServerError:
                self._lose()  # whatever it is, it does not speak our words
                raise
            try:
                if fresh:
                    self.actor.reset(np.array([True]), np.array([trial.seed], np.int64), [seen.instruction])
                    fresh = False
                chunk = self.actor.act([seen])[0]
            except ServerError:
                self._tell({"abandon": True})  # and it says what became of the trial, which does not count
                raise
            execute = self.settings.execute or getattr(self.actor, "execute", None) or len(chunk)
            message = self._tell({"actions": chunk[:execute] if changes is None else changes.of(chunk[:execute])})
        if "error" in message:
            raise ServerError(f"simpler_env: {one_line(message['error'])[:500]}")
        try:
            return row_from(message, trial, task.max_steps)
        except ServerError:
            self._lose()
            raise

    def dismiss(self) -> None:
        """Tell the worker that there is no more to do."""
        from websockets.exceptions import ConnectionClosed

        if self.socket is not None:
            with suppress(ConnectionClosed):
                self.socket.send(pack({"done": True}))

    def close(self) -> None:
        self._lose()
        if hasattr(self.actor, "close"):
            self.actor.close()
        if self.process is not None:
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()


class _Slot:
    """What `make_actor` wants to know of an environment."""

    def __init__(self, spec: Any, task: Any) -> None:
        self.spec_, self.task, self.unwrapped = spec, task, self
