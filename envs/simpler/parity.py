"""How closely these environments follow the original SIMPLER: replays its recorded episodes and compares.

    python -m envs.simpler.parity FOLDER [--tasks pick_coke_can ...] [--names scripted ...] [--images] [--json FILE]

FOLDER holds <task>/<name>.npz as the original recorded them. Every episode is replayed open loop from our own reset.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from envs.simpler.catalogue import SIMPLER_TASKS, SimplerTask
from episodes.files import write_atomic
from episodes.stopping import refusing

Array = npt.NDArray[np.float64]

INITIAL = (1.0, 0.5)  # mm and degrees, of objects after the reset
TCP = (2.0, 1.0)  # mm and degrees, at every step without contact
SUCCESS = 0.9  # share of scripted episodes with the same final flag
PIXELS, ROBOT_IOU, OBJECT_IOU = 3.0, 0.95, 0.90  # grey levels of 255, and overlaps of the silhouettes
SHADED = ("pick_coke_can", "move_near", "widowx")  # tasks whose colours were recorded with the protocol's shader
SLIVER = 300  # pixels of a picture's 307,200 or more, below which a silhouette has no overlap to speak of
TOUCHED = 5e-4  # m an object or drawer moves when it is touched
DIVERGED = {"tcp mm": 2.0, "tcp deg": 1.0, "finger rad": 0.05, "object mm": 5.0, "drawer mm": 5.0}


@dataclass
class Replay:
    """What the comparison of one episode found; per-step arrays have one entry per action."""

    name: str
    source: str
    initial: tuple[float, float]  # mm, degrees, the worst object
    contact: int  # first step with contact, or the number of steps
    errors: dict[str, Array]
    success: tuple[bool, bool]  # ours, theirs
    grasp_agrees: float  # share of steps on which the grasp test agrees (NaN without an object)
    images: dict[int, dict[str, float]] = field(default_factory=dict)  # by step

    @property
    def end(self) -> int:
        """The last step that is judged: the one before the first contact (random and pulse episodes: the last)."""
        return self.contact if self.source == "scripted_privileged" else len(self.errors["tcp mm"])

    @property
    def tcp(self) -> tuple[float, float]:
        """Largest TCP error, mm and degrees, of the steps that are judged."""
        end = self.end
        return float(self.errors["tcp mm"][:end].max(initial=0)), float(self.errors["tcp deg"][:end].max(initial=0))

    def first_divergence(self) -> str:
        """Step and quantity that first leave their tolerance."""
        found = [
            (
                int(np.argmax(self.errors[key] > limit)),
                key,
                float(self.errors[key][np.argmax(self.errors[key] > limit)]),
            )
            for key, limit in DIVERGED.items()
            if key in self.errors and (self.errors[key] > limit).any()
        ]
        return "step {} {} {:.2f}".format(*min(found)) if found else "none"


def angle(a: Array, b: Array) -> Array:
    """Degrees between quaternions (..., 4)."""
    return np.degrees(2 * np.arccos(np.clip(np.abs(np.sum(a * b, axis=-1)), 0.0, 1.0)))


def episodes(folder: Path, tasks: Sequence[str], names: Sequence[str]) -> Iterator[tuple[SimplerTask, Path]]:
    """The recorded episodes under `folder`, task by task; ValueError where there is none."""
    count = 0
    for task in SIMPLER_TASKS.values():
        for path in sorted((folder / task.trace).glob("*.npz")):
            if (not tasks or task.name in tasks) and (not names or any(n in path.stem for n in names)):
                count += 1
                yield task, path
    if not count:
        raise ValueError(f"{folder}: no recorded episode of the chosen tasks; give a folder with <task>/<name>.npz")


def read(path: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Arrays and meta data of one recorded episode."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    return arrays, json.loads(str(arrays.pop("meta")))


def conditions(meta: dict[str, Any], task: SimplerTask) -> tuple[Any, Any]:
    """Setup and placement of a recorded episode."""
    from envs.simpler.layout import Placement, Setup

    build, robot = meta["build_kwargs"], meta["reset_options"]["robot_init_options"]
    lighting = build.get("light_mode") or ""
    lighting = "brighter" if build.get("slightly_brighter_lighting") else lighting
    lighting = "darker" if build.get("slightly_darker_lighting") else lighting
    objects: tuple[str, ...] = tuple(meta["object_names"]) if task.name in ("move_near", "place_apple") else ()
    setup = Setup(
        scene=build["scene_name"] if task.robot == "google" else "bridge",
        urdf_version=build.get("urdf_version") or "",
        lighting=lighting,
        station=build.get("station_name", "mk_station"),
        dull=bool(build.get("disable_bad_material", False)),
        objects=objects,
    )
    placement = Placement(
        robot_xy=tuple(robot["init_xy"]),
        robot_quat=tuple(robot["init_rot_quat"]),
        overlay=Path(build["rgb_overlay_path"]).name if build.get("rgb_overlay_path") else "",
        xy=tuple(meta["xy"]) if meta.get("xy") else None,
        orientation=meta.get("orientation") or "",
        episode=meta.get("episode_id"),
    )
    return setup, placement


class Replayer:
    """Environments by task, rebuilt only when a recorded episode needs another scene."""

    def __init__(self, images: bool) -> None:
        self.images = images
        self._envs: dict[str, Any] = {}

    def env(self, task: SimplerTask, setup: Any) -> Any:
        """The environment of a task in one of its set-ups; only the last task's are kept."""
        if task.name not in self._envs:
            for env in self._envs.values():
                env.close()
            self._envs = {
                task.name: task.load()(
                    setup=setup,
                    obs_mode="rgb+segmentation" if self.images else "none",
                    reward_mode="sparse",
                    sim_backend="physx_cpu",
                    render_backend="cpu" if self.images else "none",
                )
            }
        return self._envs[task.name]

    def __call__(self, task: SimplerTask, path: Path) -> Replay:
        theirs, meta = read(path)
        setup, placement = conditions(meta, task)
        env = self.env(task, setup)
        obs, _ = env.reset(seed=0, options={"setup": setup, "placements": [placement]})
        actors = scene_objects(env, meta["object_names"])
        order = [[joint.name for joint in env.agent.robot.active_joints].index(name) for name in meta["joint_names"]]
        fingers = [meta["joint_names"].index(name) for name in meta["gripper_controller_joints"]]
        start = object_poses(actors)
        gap = theirs["obj_pose_world"][0].astype(np.float64)
        initial = (0.0, 0.0)
        if len(actors):
            initial = (
                float(1e3 * np.linalg.norm(start[:, :3] - gap[:, :3], axis=1).max()),
                float(angle(start[:, 3:], gap[:, 3:]).max()),
            )
        frames = [int(step) for step in theirs["frame_steps"]] if self.images else []
        pictures = {0: compare_image(env, obs, path, meta, actors)} if 0 in frames else {}
        rows: list[dict[str, float]] = []
        grasps, success, contact = [], False, first_contact(theirs)
        for k, action in enumerate(theirs["action"], 1):
            obs, _, _, _, info = env.step(action[None])
            if meta.get("advance_after_step") is not None and k == meta["advance_after_step"]:
                env.advance()
            success = bool(info["success"][0])
            rows.append(step_errors(env, theirs, k, order, fingers, actors))
            key = next((name for name in ("is_grasped", "is_src_obj_grasped") if name in info), None)
            if key is not None:
                grasps.append(bool(info[key][0]) == bool(theirs["src_is_grasped"][k]))
            if k <= contact and touches(env):
                contact = k - 1
            if k in frames:
                pictures[k] = compare_image(env, obs, path, meta, actors)
        return Replay(
            name=f"{task.name}/{path.stem}",
            source=meta["action_source"],
            initial=initial,
            contact=contact,
            errors={key: np.array([row[key] for row in rows]) for key in rows[0]},
            success=(success, bool(theirs["success"][-1])),
            grasp_agrees=float(np.mean(grasps)) if grasps else float("nan"),
            images=pictures,
        )


def scene_objects(env: Any, names: Sequence[str]) -> list[Any]:
    """Our actors for the recorded object names; what is never moved (the sink) is included where it exists."""
    return [env.scene.actors[name] for name in names]


def object_poses(actors: Sequence[Any]) -> Array:
    """Poses (M, 7) of the actors, world frame."""
    return np.array([actor.pose.raw_pose[0].cpu().numpy() for actor in actors], np.float64).reshape(-1, 7)


def step_errors(
    env: Any, theirs: dict[str, Any], k: int, order: list[int], fingers: list[int], actors: Sequence[Any]
) -> dict[str, float]:
    """Distances to the recorded state after the k-th action."""
    tcp = env.agent.tip.pose.raw_pose[0].cpu().numpy().astype(np.float64)
    goal = theirs["tcp_pose_world"][k].astype(np.float64)
    qpos = env.agent.robot.get_qpos()[0].cpu().numpy()[order]
    errors = {
        "tcp mm": float(1e3 * np.linalg.norm(tcp[:3] - goal[:3])),
        "tcp deg": float(angle(tcp[3:], goal[3:])),
        "finger rad": float(np.abs(qpos - theirs["qpos"][k])[fingers].max()),
    }
    if len(actors):
        gap = object_poses(actors) - theirs["obj_pose_world"][k].astype(np.float64)
        errors["object mm"] = float(1e3 * np.linalg.norm(gap[:, :3], axis=1).max())
    if "cabinet_qpos" in theirs:
        ours = env.cabinet.get_qpos()[0].cpu().numpy()
        errors["drawer mm"] = float(1e3 * np.abs(ours - theirs["cabinet_qpos"][k]).max())
    return errors


def first_contact(theirs: dict[str, Any]) -> int:
    """The first action (from 0) after which the recorded robot has touched or moved an object or a drawer."""
    T = len(theirs["action"])
    touched = np.zeros(T, bool)
    if "finger_impulse" in theirs:
        touched |= np.abs(theirs["finger_impulse"][1:]).reshape(T, -1).max(1) > 0
    if theirs["obj_pose_world"].size:
        moved = np.linalg.norm(theirs["obj_pose_world"][1:, :, :3] - theirs["obj_pose_world"][:1, :, :3], axis=2)
        touched |= moved.max(1) > TOUCHED
    if "cabinet_qpos" in theirs:
        touched |= np.abs(theirs["cabinet_qpos"][1:] - theirs["cabinet_qpos"][:1]).max(1) > TOUCHED
    return int(np.argmax(touched)) if touched.any() else T


def touches(env: Any) -> bool:
    """Does our robot touch anything but itself? (The recordings do not tell of contact with a cabinet.)"""
    own = {link._bodies[0] for link in env.agent.robot.get_links()}
    return any(
        (contact.bodies[0] in own) != (contact.bodies[1] in own)
        and np.linalg.norm(sum(point.impulse for point in contact.points)) > 1e-6
        for contact in env.scene.px.get_contacts()
    )


def compare_image(env: Any, obs: Any, path: Path, meta: dict[str, Any], actors: Sequence[Any]) -> dict[str, float]:
    """Mean difference of the overlaid image and overlaps of the silhouettes (but slivers) at the current step."""
    from PIL import Image

    data = obs["sensor_data"][env.camera]
    ours, labels = data["rgb"][0].cpu().numpy().astype(float), data["segmentation"][0, ..., 0].cpu().numpy()
    stem = f"{path.stem}_s{int(env.elapsed_steps[0]):03d}"
    with Image.open(path.parent / f"{stem}.png") as image:
        theirs = np.asarray(image.convert("RGB"), float)
    with Image.open(path.parent / f"{stem}_seg.png") as image:
        their_labels = np.asarray(image)
    found = {"pixels": float(np.abs(ours - theirs).mean())}
    masks = {"robot": [link.per_scene_id for link in env.agent.robot.get_links()]}
    wanted = {"robot": their_labels == 1}
    if hasattr(env, "cabinet"):
        masks["cabinet"] = [link.per_scene_id for link in env.cabinet.get_links()]
        wanted["cabinet"] = (their_labels >= 2) & (their_labels < 10)
    for i, name in enumerate(meta["object_names"]):
        if "sink" not in name:  # labelled, but always covered by the photograph
            masks[name], wanted[name] = [actors[i].per_scene_id], their_labels == 10 + i
    for name, ids in masks.items():
        mine = np.isin(labels, [int(i[0]) for i in ids])
        union = (mine | wanted[name]).sum()
        if union >= SLIVER:
            found[f"iou {name}"] = float((mine & wanted[name]).sum() / union)
    return found


def verdicts(replays: Sequence[Replay]) -> list[tuple[str, str, bool]]:
    """(what, measured, within the tolerance) over all replayed episodes."""
    scripted = [r for r in replays if r.source == "scripted_privileged"]
    worst = max(replays, key=lambda r: max(r.initial[0] / INITIAL[0], r.initial[1] / INITIAL[1]))
    moved = max(replays, key=lambda r: max(r.tcp[0] / TCP[0], r.tcp[1] / TCP[1]))
    rows = [
        (
            f"objects after the reset within {INITIAL[0]} mm, {INITIAL[1]} deg",
            f"{worst.initial[0]:.2f} mm, {worst.initial[1]:.2f} deg ({worst.name})",
            all(r.initial[0] <= INITIAL[0] and r.initial[1] <= INITIAL[1] for r in replays),
        ),
        (
            f"TCP without contact within {TCP[0]} mm, {TCP[1]} deg",
            f"{moved.tcp[0]:.2f} mm, {moved.tcp[1]:.2f} deg ({moved.name})",
            all(r.tcp[0] <= TCP[0] and r.tcp[1] <= TCP[1] for r in replays),
        ),
    ]
    if scripted:
        same = float(np.mean([r.success[0] == r.success[1] for r in scripted]))
        rows.append(
            (f"same success in {SUCCESS:.0%} of scripted episodes", f"{same:.0%} of {len(scripted)}", same >= SUCCESS)
        )
    drawn = [(r, image) for r in replays for step, image in r.images.items() if step <= r.end]
    shaded = [image["pixels"] for r, image in drawn if r.name.startswith(SHADED)]
    robot = [image["iou robot"] for _, image in drawn if "iou robot" in image]
    things = [v for _, image in drawn for key, v in image.items() if key.startswith("iou ") and key != "iou robot"]
    if shaded:
        measured = f"worst {max(shaded):.2f}, mean {np.mean(shaded):.2f}, {len(shaded)} pictures"
        rows.append((f"pixels without contact within {PIXELS:g} of 255", measured, max(shaded) <= PIXELS))
    for what, overlaps, limit in (("robot", robot, ROBOT_IOU), ("object", things, OBJECT_IOU)):
        if overlaps:
            measured = f"worst {min(overlaps):.3f} of {len(overlaps)}"
            rows.append((f"{what} silhouettes without contact at least {limit}", measured, min(overlaps) >= limit))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one line per episode and the verdicts; returns 1 where a tolerance is missed."""
    parser = argparse.ArgumentParser(prog="python -m envs.simpler.parity", description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tasks", nargs="*", default=[], choices=[*SIMPLER_TASKS], metavar="TASK")
    parser.add_argument("--names", nargs="*", default=[], help="only episodes whose name contains one of these")
    parser.add_argument("--images", action="store_true", help="compare images too (needs Vulkan)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    with refusing("parity"):
        return compare(parser.parse_args(arguments))


def compare(options: argparse.Namespace) -> int:
    """Replay every recorded episode, print how far each lies from the original, and return the exit status."""
    replayer, replays = Replayer(options.images), []
    for task, path in episodes(options.folder, options.tasks, options.names):
        replay = replayer(task, path)
        replays.append(replay)
        agree = "" if np.isnan(replay.grasp_agrees) else f"  grasp {replay.grasp_agrees:4.0%}"
        line = f"{replay.name:48s} reset {replay.initial[0]:6.2f} mm {replay.initial[1]:5.2f} deg  "
        line += f"tcp {replay.tcp[0]:6.2f} mm {replay.tcp[1]:5.2f} deg to step {replay.contact:3d}"
        line += f"  success {replay.success[0]!s:5} / {replay.success[1]!s:5}{agree}"
        if replay.success[0] != replay.success[1]:
            line += f"  DIFFERS, {replay.first_divergence()}"
        for step, image in replay.images.items():
            line += f"  picture {step}: " + " ".join(f"{key} {value:.3f}" for key, value in image.items())
        print(line, flush=True)
    print()
    rows = verdicts(replays)
    for what, measured, kept in rows:
        print(f"{'ok    ' if kept else 'MISSED'}  {what}: {measured}")
    if options.json is not None:
        figures = [
            {
                "name": r.name,
                "initial_mm_deg": r.initial,
                "tcp_mm_deg": r.tcp,
                "first_contact": r.contact,
                "success": r.success,
                "first_divergence": r.first_divergence(),
                "images": r.images,
            }
            for r in replays
        ]
        write_atomic(options.json, json.dumps({"verdicts": rows, "episodes": figures}, indent=1) + "\n")
    return 0 if all(kept for *_, kept in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
