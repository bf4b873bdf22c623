"""What a VideoVLA policy imagines beside what then happens, and whether the two agree where it succeeds.

    python -m experiments.imagination POLICY_FOLDER --trials 20 --out runs/imagination

Rolls a saved policy out, keeps the video that it imagines with every chunk of actions, and writes into --out:
videos/<seed>.mp4 (what happened | what was last imagined, their similarity below), rows.json (an entry per trial),
summary.json, and similarity.png: the similarity of trials that succeed and that fail (VideoVLA section 4.4, figure 3).
The foreground comes from the simulator's own segmentation; robosuite tasks only.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt

from agents.make import load_policy
from agents.videovla import VideoVlaPolicy
from envs.ledger import Trial
from envs.rollout import rollout
from episodes import seeds
from episodes.files import write_atomic
from episodes.intervals import bootstrap_mean
from episodes.types import Episode, Observation
from experiments.loop.checks import check_device, refusing
from experiments.loop.run_folder import command_line, write_json
from experiments.loop.schemas import TaskConfig
from experiments.loop.stages import make_env
from experiments.models.motion import MotionConfig, motion_similarity
from experiments.report.video import draw_video


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policy", type=Path, help="folder of a trained videovla policy")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="offset into the evaluation seeds")
    parser.add_argument("--max-steps", type=int, default=55, help="time limit of a trial")
    parser.add_argument("--view", help="camera that is compared; the policy's first one unless named")
    parser.add_argument("--videos", type=int, default=6, help="trials that are drawn")
    parser.add_argument("--out", type=Path, default=Path("runs/imagination"))
    parser.add_argument("--device", default="cpu")
    return parser.parse_args(arguments)


@dataclass(frozen=True)
class Dream:
    """One plan of a policy: the step it was made at, the imagined frames (M, H, W, 3) of one view, the foreground."""

    step: int
    video: npt.NDArray[np.uint8]
    foreground: npt.NDArray[np.bool_]


class Dreamer:
    """The policy as an actor for one environment that keeps, per episode, what it imagined with every chunk."""

    def __init__(self, policy: VideoVlaPolicy, env: Any, view: str) -> None:
        self.policy, self.env, self.view, self.execute = policy, env, view, policy.execute
        self.dreams: list[Dream] = []

    def reset(self, mask: np.ndarray, seeds: np.ndarray, instructions: Sequence[str]) -> None:
        self.dreams = []
        self.policy.reset(mask, seeds, instructions)

    def act(self, observations: Sequence[Observation | None]) -> np.ndarray:
        chunks, latents = self.policy.plan(observations)
        video = self.policy.decode(latents)[0, self.policy.cameras.index(self.view)]
        foreground = self.env.unwrapped.foreground()[self.view]
        self.dreams.append(Dream(self.execute * len(self.dreams), video, foreground))
        return chunks


def compared(episode: Episode, dreams: Sequence[Dream], view: str, stride: int, config: MotionConfig) -> list[Any]:
    """(step, similarity, pairs) of every dream whose last frame lies inside the episode.

    The executed frames are those of the same moments; after `execute` steps the policy had planned anew by then.
    """
    found = []
    for dream in dreams:
        moments = dream.step + stride * np.arange(len(dream.video))
        if moments[-1] <= len(episode):
            executed = episode.images[view][moments]
            found.append((dream.step, *motion_similarity(executed, dream.video, dream.foreground, config)))
    return found


def draw(path: Path, episode: Episode, dreams: Sequence[Dream], scores: Sequence[Any], view: str, stride: int) -> None:
    """What happened and, of the same moment, what was last imagined; below, the similarity of that plan."""
    T = len(episode)
    latest = [max(k for k, d in enumerate(dreams) if d.step <= t) for t in range(T)]
    imagined = np.stack([dreams[k].video[(t - dreams[k].step) // stride] for t, k in enumerate(latest)])
    known = {step: score for step, score, _ in scores}
    curve = [known.get(dreams[k].step, np.nan) for k in latest]
    ending = "succeeds" if episode.success else "fails"
    draw_video(
        path, [episode.images[view][:T], imagined], curve, title=f"happened | imagined; it {ending}", fps=episode.hz
    )


def rank_share(successes: Sequence[float], failures: Sequence[float]) -> float:
    """Share of (success, failure) pairs in which the success has the higher similarity, ties half: 0.5 is chance."""
    if not len(successes) or not len(failures):
        return float("nan")
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(successes, failures).statistic) / (len(successes) * len(failures))


def summarised(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean similarity of the trials that succeed and that fail, each with its bootstrap interval, and `rank_share`."""
    parts = {True: [], False: []}  # type: ignore[var-annotated]
    for row in rows:
        if row["similarity"] is not None:
            parts[row["success"]].append(row["similarity"])
    made: dict[str, Any] = {"trials": len(rows), "success": float(np.mean([r["success"] for r in rows]))}
    made["undefined"] = len(rows) - sum(map(len, parts.values()))
    for success, name in ((True, "successes"), (False, "failures")):
        mean, low, high = bootstrap_mean(parts[success]) if parts[success] else (None,) * 3  # type: ignore[assignment]
        made[name] = {"similarity": mean, "low": low, "high": high, "n": len(parts[success])}
    return made | {"success_ranked_above_failure": rank_share(parts[True], parts[False])}


def plot(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """A point per trial, and the success rate of each third of them in order of similarity."""
    from matplotlib.figure import Figure

    known = sorted((r["similarity"], r["success"]) for r in rows if r["similarity"] is not None)
    figure = Figure(figsize=(5, 3), dpi=150)
    axes = figure.subplots()
    rng = np.random.default_rng(0)
    for success, colour in ((True, "#029e73"), (False, "#d55e00")):
        x = [s for s, won in known if won == success]
        axes.scatter(x, success + rng.uniform(-0.04, 0.04, len(x)), color=colour, s=18, alpha=0.7, linewidths=0)
    for part in np.array_split(np.array(known, float).reshape(-1, 2), 3):
        if len(part):
            axes.plot([part[0, 0], part[-1, 0]], [part[:, 1].mean()] * 2, color="#0173b2", linewidth=2)
    axes.set_xlabel("similarity of imagined and executed motion (mean cosine)")
    axes.set_yticks([0, 1], ["fails", "succeeds"])
    axes.set_ylim(-0.15, 1.15)
    axes.set_xlim(-1.05, 1.05)
    axes.set_title(f"{len(known)} of {len(rows)} trials are defined; blue: success rate by thirds", fontsize=8)
    figure.tight_layout()
    write_atomic(path, lambda beside: figure.savefig(beside, format="png"))


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    with refusing("imagination"):
        run(args)
    return 0


def run(args: argparse.Namespace) -> None:
    check_device(args.device)
    policy = load_policy(args.policy, args.device)
    if not isinstance(policy, VideoVlaPolicy) or policy.config.latents < 2:
        raise ValueError(f"policy {args.policy}: it imagines nothing; name a videovla policy with latents of 2 or more")
    view = args.view or policy.cameras[0]
    if view not in policy.cameras:
        raise ValueError(f"--view {view}: the policy sees {', '.join(policy.cameras)}")
    if not 1 <= args.trials <= len(seeds.EVAL) - args.first:
        raise ValueError(f"--trials {args.trials}: give at least 1, and no more than there are evaluation seeds")
    spec, stride, config = policy.spec, policy.config.frame_stride, MotionConfig()
    task = TaskConfig(spec.env_id, spec.image_size[0], list(spec.cameras), spec.hz)
    env = make_env(task, args.max_steps)
    if not hasattr(env, "foreground"):
        raise ValueError(f"policy {args.policy}: {spec.env_id} gives no segmentation; use a robosuite task")
    dreamer = Dreamer(policy, env, view)
    trials = [Trial(s) for s in seeds.EVAL[args.first : args.first + args.trials]]
    rows: list[dict[str, Any]] = []
    for episode in rollout(dreamer, [env], trials, source=f"policy:{args.policy.name}"):
        scores = compared(episode, dreamer.dreams, view, stride, config)
        defined = [score for _, score, _ in scores if np.isfinite(score)]
        seed = episode.provenance.seed
        mean = float(np.mean(defined)) if defined else None
        facts = {"seed": seed, "success": episode.success, "similarity": mean, "plans": len(scores)}
        rows.append(facts | {"compared": len(defined), "pairs": sum(pairs for *_, pairs in scores)})
        if len(rows) <= args.videos:
            draw(args.out / "videos" / f"{seed}.mp4", episode, dreamer.dreams, scores, view, stride)
        said = "undefined" if mean is None else f"{mean:+.2f}"
        print(f"seed {seed}: {'succeeds' if episode.success else 'fails':<8}  similarity {said}", flush=True)
    env.close()
    write_json(args.out / "rows.json", rows)
    settings = {"policy": str(args.policy), "view": view, "motion": asdict(config)}
    write_json(args.out / "summary.json", {"command": command_line(), **settings, **summarised(rows)})
    plot(args.out / "similarity.png", rows)
    print((args.out / "summary.json").read_text())


if __name__ == "__main__":
    sys.exit(main())
