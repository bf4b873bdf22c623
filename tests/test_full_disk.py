"""A disk that fills up late: whatever writes then ends in one line, leaves nothing half-written, and goes on later."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pytest

from agents.flow import FlowPolicy
from agents.flow_model import FlowConfig
from envs.ledger import TrialLedger
from episodes.annotations import Segment, write_annotations
from episodes.files import TEMPORARY, copy_folder
from episodes.importing import import_dataset
from episodes.labels import Labels
from episodes.lerobot_stats import write_stats
from episodes.stopping import refusing
from episodes.store import EpisodeStore
from episodes.windows import DecodedCache
from experiments.loop.run_folder import write_json
from experiments.loop.stages import save_values, share_first_iteration
from experiments.report.page import write_report
from experiments.report.video import draw_video
from experiments.studies.engine import Cell, make
from networks.latents import LatentEncoder, LatentsConfig
from networks.sharing import CardFacts, save_pretrained
from tests import ROOT
from tests.helpers.made_lift import SPEC, made_episode, made_store

ROOM = 64 << 20  # bytes of the small disk
LEFT = (0, 0.5, 0.9)  # of what a writer takes
PASSING = re.compile(r"\.lock$|/lock$|usage\.json$")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the writers read, on a disk with room."""
    root = tmp_path_factory.mktemp("source")
    made_store(root / "store", 2, 1)
    policy = FlowPolicy(FlowConfig(width=32, blocks=1, feature=8), SPEC, seed=1)
    policy.save(root / "arm" / "policy-0")
    (root / "arm" / "trials-0.jsonl").write_text("x" * 90_000)
    write_json(root / "run" / "run.json", {"title": "made", "stages": {"collect": 1.0}})
    return root


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of ROOM bytes."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(place)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(mounted, capture_output=True).returncode:
        pytest.skip("may not mount a small disk here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@dataclass(frozen=True)
class Writer:
    """`write(source, place)` may be called again where it was stopped; `before` makes what was there already."""

    write: Callable[[Path, Path], object]
    before: Callable[[Path, Path], object] = lambda source, place: None
    check: Callable[[Path], object] = lambda place: None  # what was there already can still be read


def video(source: Path, place: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3)).astype(np.uint8)
    draw_video(place / "videos" / "x.mp4", [frames], np.linspace(0, 1, 20))


def run_files(source: Path, place: Path) -> None:
    shutil.copytree(source / "run", place, dirs_exist_ok=True)
    (place / "report.html").write_text("the report of before")


def append(encoding: str) -> Writer:
    def before(source: Path, place: Path) -> None:
        with EpisodeStore.create(place / "s", SPEC, encoding) as store:
            store.append([made_episode(0), made_episode(1)])

    def write(source: Path, place: Path) -> None:
        with EpisodeStore.open(place / "s", "a") as store:
            store.append([made_episode(i) for i in range(len(store), 4)])

    def check(place: Path) -> None:
        (EpisodeStore.open(place / "s")[1].images["front"] == made_episode(1).images["front"]).all()

    return Writer(write, before, check)


def trial_rows(source: Path, place: Path, first: int = 0, stop: int = 400) -> None:
    ledger = TrialLedger(place / "ledger.jsonl")
    for i in range(max(first, len(ledger.rows)), stop):
        ledger.add({"key": f"seed={i}", "text": "x" * 300})


def cells(source: Path, place: Path) -> None:
    made = [Cell(f"lift-{i}", {"seed": i}, {"seed": i}) for i in range(5)]
    todo = [cell for cell in made if not cell.path(place).exists()]
    make(todo, [cell.key for cell in todo], lambda key: {"rows": [key] * 2000}, place)


def labels(source: Path, place: Path) -> None:
    store = EpisodeStore.open(source / "store")
    rng = np.random.default_rng(0)
    Labels.from_arrays(store, "made", weight=[rng.random(row["length"]) for row in store.index]).save(
        place / "l.parquet"
    )


def export(source: Path, place: Path) -> None:
    write_stats(place / "s")


def own_store(source: Path, place: Path) -> None:
    if not (place / "own").exists():
        copy_folder(source / "store", place / "own", link=True, leave_out=("*.lock", "lock"))


def latents(source: Path, place: Path) -> None:
    encoder = LatentEncoder(LatentsConfig("patch_pca", channels=16))
    frames = np.random.default_rng(0).integers(0, 256, (60, 1, 32, 32, 3)).astype(np.uint8)
    encoder.fit(frames).save(place / "latents")


def clips(source: Path, place: Path) -> None:
    """The way clip_latents keeps them; encoding takes seconds."""
    from networks.clip_latents import _write

    if not (place / "clips").exists():

        def fill(array: Callable[[tuple[int, ...]], np.ndarray]) -> np.ndarray:
            out = array((4, 100_000))
            out[:] = 1
            return out

        _write(place / "clips", fill)


def imported(source: Path, place: Path) -> None:
    if not (place / "store").exists():
        import_dataset(source / "store", place / "store", format="lerobot")


def annotations(source: Path, place: Path) -> None:
    write_annotations(place / "annotations.csv", {i: [Segment("retry", 3, 9)] for i in range(3000)})


def values(source: Path, place: Path) -> None:
    save_values(place / "values.npz", [np.arange(20_000, dtype=np.float32)] * 3)


def shared(source: Path, place: Path) -> None:
    if not (place / "shared").exists():
        save_pretrained(source / "arm" / "policy-0", place / "shared", CardFacts("made"))


WRITERS = {
    "video": Writer(video),
    "report": Writer(lambda source, place: write_report(place), run_files, lambda place: place / "report.html"),
    "policy": Writer(lambda s, place: FlowPolicy(FlowConfig(width=32, blocks=1, feature=8), SPEC, seed=1).save(place)),
    "checkpoint copy": Writer(lambda s, place: (place / "c").exists() or copy_folder(s / "arm/policy-0", place / "c")),
    "first iteration": Writer(lambda source, place: share_first_iteration(source / "arm", place / "arm")),
    "own store": Writer(own_store),
    "share": Writer(shared),
    "store": append("png"),
    "store of videos": append("mp4"),
    "import": Writer(imported),
    "export": Writer(export, lambda source, place: copy_folder(source / "store", place / "s")),
    "ledger": Writer(
        trial_rows,
        lambda s, place: trial_rows(s, place, 0, 5),
        lambda place: len(TrialLedger(place / "ledger.jsonl").rows),
    ),
    "cells": Writer(cells),
    "labels": Writer(labels),
    "decoded frames": Writer(lambda source, place: DecodedCache(EpisodeStore.open(source / "store"), place)),
    "clips": Writer(clips),
    "latents": Writer(latents),
    "annotations": Writer(annotations),
    "values": Writer(values),
    "json": Writer(lambda source, place: write_json(place / "run.json", {"stages": ["x" * 50] * 2000})),
}


def whole(place: Path) -> dict[str, bytes]:
    files = (p for p in place.rglob("*") if p.is_file() and p.name != "filler")
    return {str(p.relative_to(place)): content(p) for p in files if not PASSING.search(str(p))}


def content(path: Path) -> bytes:
    """The bytes of a file, or the number of a video's pictures: its encoder's threads share work anew each time."""
    if path.suffix != ".mp4":
        return path.read_bytes()
    with av.open(str(path)) as video:
        return bytes([sum(1 for _ in video.decode(video=0))])


def made_by(writer: Writer, source: Path, place: Path) -> tuple[dict[str, bytes], int]:
    """What it leaves where there is room, and the bytes that it takes."""
    writer.before(source, place)
    used = shutil.disk_usage(place).used
    writer.write(source, place)
    return whole(place), shutil.disk_usage(place).used - used


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", WRITERS)
def test_a_writer_on_a_disk_that_fills(name: str, source: Path, small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    writer = WRITERS[name]
    wanted, size = made_by(writer, source, small)
    assert size >= 4096, "it writes nothing"
    refused = 0
    for share in LEFT:
        for path in small.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        writer.before(source, small)
        (small / "filler").write_bytes(bytes(shutil.disk_usage(small).free - int(size * share)))
        try:
            with refusing("x"):
                writer.write(source, small)
        except SystemExit as ended:
            refused += 1
            said = str(ended)
            assert "\n" not in said and "free some disk space" in said and str(small) in said, said
            assert not [p for p in small.rglob("*") if p.name.startswith(TEMPORARY)]
            writer.check(small)
        else:
            assert whole(small) == wanted, f"{share}: taken for done"
        (small / "filler").unlink()
        writer.write(source, small)
        assert whole(small) == wanted, f"{share}: not what it is where there is room"
    assert refused, "it never was full"
    assert "Traceback" not in capfd.readouterr().err


TRAINING = """
import sys
from pathlib import Path
import numpy as np
from tests.helpers.tiny import training
from agents.flow import FlowPolicy
from agents.flow_model import FlowConfig
from episodes.labels import Labels
from episodes.stopping import refusing
from episodes.store import EpisodeStore
import experiments
with refusing("x"):
    store = EpisodeStore.open(sys.argv[1])
    config = FlowConfig(width=64, blocks=1, feature=8, training=training(8, log_every=1, checkpoint_every=2))
    policy = FlowPolicy(config, store.spec, seed=1)
    labels = Labels.from_arrays(store, "made", weight=[np.ones(row["length"]) for row in store.index])
    policy.fit(store, labels, 0, Path(sys.argv[2]) / "train")
    policy.save(Path(sys.argv[2]) / "policy")
"""


@pytest.mark.slow
def test_training_on_a_disk_that_fills(source: Path, small: Path, tmp_path: Path) -> None:
    """Its logs, also those that a library's thread writes, and its checkpoints; what comes out is the same."""
    script = tmp_path / "experiments" / "script.py"  # a command of this project, by the folder it lies in
    script.parent.mkdir()
    script.write_text(TRAINING)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    def train() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(script), str(source / "store"), str(small)]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    def trained() -> tuple[bytes, list[tuple[int, float]]]:
        lines = [json.loads(line) for line in (small / "train" / "metrics.jsonl").read_text().splitlines()]
        weights = (small / "policy" / "model.safetensors").read_bytes()
        return weights, [(line["step"], line["loss"]) for line in lines]

    done = train()
    assert done.returncode == 0, done.stderr
    wanted, size = trained(), shutil.disk_usage(small).used
    refused = 0
    for left in (0, size // 2):
        for path in small.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (small / "filler").write_bytes(bytes(shutil.disk_usage(small).free - left))
        done = train()
        if done.returncode:
            refused += 1
            said = [line for line in done.stderr.splitlines() if "it/s]" not in line and line.strip()]
            assert len(said) == 1 and "free some disk space" in said[0], done.stderr
        (small / "filler").unlink()
        done = train()
        assert done.returncode == 0 and trained() == wanted, done.stderr
    assert refused


def test_files_are_written_in_one_place() -> None:
    """By what episodes/files.py offers: whole or not at all, beside and renamed, a full disk told in one line."""
    wrote = re.compile(
        r"\.write_text\(|\.write_bytes\(|os\.(replace|rename)\(|\.rename\(|shutil\.(copytree|copyfile|move)\("
    )
    for room in ("agents", "envs", "episodes", "experiments", "networks", "valuefns"):
        for path in (ROOT / room).rglob("*.py"):
            found = wrote.search(path.read_text())
            assert found is None or path == ROOT / "episodes" / "files.py", f"{path}: {found}; use episodes.files"
