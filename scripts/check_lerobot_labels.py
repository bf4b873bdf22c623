"""Labels on their way to the real lerobot package: scripts/check_lerobot_labels.py --venv FOLDER

1. lerobot (in the environment of scripts/check_lerobot.py) records a dataset; a second one trains our value;
2. `foresight import`, `train`, `label`, `advantage` and `export` here: the value learned from the other dataset;
3. lerobot reads the exported dataset: weights, advantages and values equal ours to 1e-6 in every row, its own batches
   carry them and a weighted loss takes them; its RA-BC weights are computed from our progress file; the source's files
   have the hashes they had.

Not part of the tests: it needs a network and minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from check_lerobot import FPS, ROOT, environment

HERE = [sys.executable, "-c", "import sys; from experiments.cli import main; main(sys.argv[1:])"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=Path, help="keep the environment here and use it again")
    parser.add_argument("--inside", choices=("record", "read"), help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        {"record": record, "read": read}[args.inside](args.work)
        return
    with tempfile.TemporaryDirectory(prefix="check-lerobot-labels-") as folder:
        work, variables = Path(folder), {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HF_HOME": f"{folder}/hf"}
        variables |= {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
        python = environment(args.venv or work / "venv")

        def theirs(part: str) -> str:
            command = [python, __file__, "--inside", part, "--work", folder]
            done = subprocess.run(command, env={**os.environ, **variables}, cwd=folder, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit("\n".join(done.stderr.splitlines()[-20:]))
            return done.stdout

        def ours(*words: object) -> None:
            subprocess.run([*HERE, *map(str, words)], env={**os.environ, **variables}, cwd=folder, check=True)

        theirs("record")
        before = hashes(work / "scored")
        for name in ("taught", "scored"):
            ours("import", work / name, f"target={work / name}-store", "image_size=[64,64]")
        ours("train", work / "taught-store", f"out={work / 'value'}", "preset=tiny", "valuefn.training.steps=20")
        ours("label", work / "scored-store", f"value={work / 'value'}")
        ours("advantage", work / "scored-store", "method=awr")
        (path,) = (work / "scored-store/labels").glob("awr-*.parquet")
        export = ["export", work / "scored-store", f"labels={path}", f"source={work / 'scored'}"]
        ours(*export, f"target={work / 'exported'}")
        ours(*export, f"target={work / 'files'}", "format=progress")
        assert hashes(work / "scored") == before, "the source was changed"
        expected(path, work / "expected.npz")
        print(json.dumps({"source unchanged": len(before)} | json.loads(theirs("read").splitlines()[-1]), indent=1))


def hashes(folder: Path) -> dict[str, str]:
    from episodes.files import sha256_file

    return {str(p.relative_to(folder)): sha256_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def expected(path: Path, target: Path) -> None:
    """Our labels for every row of theirs: the last row of an episode has those of the row before."""
    from episodes.labels import Labels

    labels = Labels.load(path)
    columns: dict[str, Any] = {}
    for name in labels.columns:
        parts = [labels.column(name, episode) for episode in labels.episodes]
        columns[name] = np.concatenate([np.append(part, part[-1]) for part in parts])
    np.savez(target, **columns)


def record(work: Path) -> None:
    """Two datasets of theirs: one to train a value on and one to score."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    for seed, name in enumerate(("taught", "scored")):
        features: dict[str, Any] = {
            "observation.images.front": {
                "dtype": "video",
                "shape": (64, 64, 3),
                "names": ["height", "width", "channels"],
            },
            "observation.state": {"dtype": "float32", "shape": (4,), "names": ["a", "b", "c", "d"]},
            "action": {"dtype": "float32", "shape": (3,), "names": ["x", "y", "g"]},
            "next.success": {"dtype": "bool", "shape": (1,), "names": None},
        }
        made = LeRobotDataset.create(f"foresight/{name}", fps=FPS, root=work / name, features=features, vcodec="h264")
        rng = np.random.default_rng(seed)
        for episode in range(6):
            T = int(rng.integers(18, 30))
            for t in range(T):
                picture = np.full((64, 64, 3), 40 + 150 * t // T, np.uint8)
                picture[8 : 8 + 2 * episode + 4, t : t + 8] = 250
                frame: dict[str, Any] = {"observation.images.front": picture, "task": f"task {episode % 2}"}
                frame |= {"observation.state": rng.normal(size=4).astype(np.float32) + t / T}
                frame |= {"action": rng.uniform(-1, 1, 3).astype(np.float32)}
                frame |= {"next.success": np.array([t == T - 1 and episode != 3])}
                made.add_frame(frame)
            made.save_episode(parallel_encoding=False)
        made.finalize()


def read(work: Path) -> None:
    """What lerobot makes of the exported dataset."""
    import torch
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
    from lerobot.utils.rabc import RABCWeights

    mine = np.load(work / "expected.npz", allow_pickle=False)
    theirs = LeRobotDataset("foresight/exported", root=work / "exported", video_backend="pyav")
    assert {"value", "advantage", "weight"} <= set(theirs.meta.features)
    worst = 0.0
    for n in range(len(theirs)):
        item = theirs[n]
        worst = max(worst, *(abs(float(item[name]) - float(mine[name][n])) for name in mine.files))
    assert worst <= 1e-6, worst
    progress = RABCWeights(work / "files/sarm_progress.parquet", chunk_size=4, device=torch.device("cpu"))
    model, losses = torch.nn.Linear(4, 3), []
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for batch in torch.utils.data.DataLoader(theirs, batch_size=16, shuffle=False):
        weight = batch["weight"].reshape(-1)
        error = (model(batch["observation.state"]) - batch["action"]).square().mean(1)
        loss = (weight * error).sum() / (weight.sum() + 1e-6)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
        rabc, _ = progress.compute_batch_weights(batch)
        assert rabc.shape == weight.shape and torch.isfinite(rabc).all()
    from importlib.metadata import version

    facts = {"lerobot": version("lerobot"), "rows": len(theirs), "largest difference": worst, "batches": len(losses)}
    print(json.dumps(facts | {"stats": sorted(set(theirs.meta.stats) & set(mine.files)), **progress.get_stats()}))


if __name__ == "__main__":
    main()
