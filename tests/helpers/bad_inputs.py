"""The cases of test_bad_input: a part of a small valid world, what is broken in it, who reads it, what is named."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from agents.flow import FlowPolicy
from agents.make import load_policy
from agents.settings import FlowConfig
from envs.ledger import Trial, TrialLedger
from envs.rollout import evaluate_trials
from episodes import EnvSpec, Provenance
from episodes.images import decode_png, encode_png
from episodes.labels import Labels
from episodes.store import EpisodeStore
from episodes.windows import DecodedCache
from experiments.loop.run_folder import _facts, write_json
from experiments.loop.stages import load_values, make_actor, save_values
from experiments.report.files import read_run
from networks.checkpoint import load_module, load_tensors, save_module, save_tensors
from networks.latents import LatentEncoder, latents_config
from networks.settings import LatentsConfig
from tests.helpers import tiny
from tests.helpers.damage import (
    DATA,
    FINAL,
    HEADER,
    INDEX,
    cut,
    edit_index,
    edit_json,
    edit_labels,
    edit_line,
    edit_spec,
    edit_tensors,
    flip,
    keep,
    npz_member,
    read_lines,
    remove,
    replaced,
    resave,
    safetensors,
    values,
    write,
)
from tests.helpers.made_lift import SPEC, made_episode, made_store
from valuefns.make import load_value


@dataclasses.dataclass(frozen=True)
class Case:
    """`damage(path)` breaks a copy of `part`, then `read(path)` must refuse and name `named` (a pattern)."""

    name: str
    part: str
    damage: Callable[[Path], Any]
    read: Callable[[Path], Any]
    named: str


def make_world(root: Path) -> None:
    """One valid part of every kind under `root`."""
    store = made_store(root / "store", 2, 1)
    weight = [np.ones(row["length"]) for row in store.index]
    (root / "labels").mkdir()
    Labels.from_arrays(store, "made", weight=weight).save(root / "labels/l.parquet")
    save_values(root / "values/values.npz", [np.zeros(row["length"] + 1, np.float32) for row in store.index])
    config = FlowConfig(width=8, blocks=1, feature=4, training=tiny.training(1))
    FlowPolicy(config, SPEC).save(root / "policy")
    LatentEncoder(LatentsConfig("patch_pca", channels=4)).save(root / "latents")
    save_tensors(root / "resume/r.safetensors", {"a": torch.arange(6.0)}, {"step": 3})
    ledger = TrialLedger(root / "ledger/t.jsonl")
    for seed in range(3):
        row = {"key": Trial(seed).key, "seed": seed, "success": True, "steps": 3, "seconds": 0.3, "source": "policy:x"}
        ledger.add(row | {"progress": 1.0, "variant": "", "env_id": SPEC.env_id})
    write_json(root / "run/run.json", {"stages": {"collect": 1.0}})
    DecodedCache(store, root / "decoded")
    (root / "nothing").mkdir()


def read_store(path: Path) -> Any:
    return list(EpisodeStore(path))


def read_labels(path: Path) -> Any:
    return Labels.load(path / "l.parquet")


def read_values(path: Path) -> Any:
    return load_values(path / "values.npz")


def read_ledger(path: Path) -> Any:
    return TrialLedger(path / "t.jsonl")


def evaluate(source: str, n: int = 3) -> Callable[[Path], Any]:
    def read(path: Path) -> Any:
        trials = [Trial(s) for s in range(n)]
        return evaluate_trials(None, None, trials, source=source, ledger=TrialLedger(path / "t.jsonl"))  # type: ignore[arg-type]

    return read


def read_facts(path: Path) -> Any:
    return _facts(path / "run.json")


def read_latents(path: Path) -> Any:
    return LatentEncoder(latents_config(path))


def read_decoded(path: Path) -> Any:
    return DecodedCache(EpisodeStore(path.parent.parent / "world/store"), path)


def append(**changes: Any) -> Callable[[Path], Any]:
    def read(path: Path) -> Any:
        with EpisodeStore.open(path, "a") as store:
            store.append([made_episode(7), dataclasses.replace(made_episode(3, T=4), **changes)])

    return read


def png(data: bytes, size: tuple[int, int] = (4, 5)) -> Callable[[Path], Any]:
    return lambda path: decode_png(data, size)


E4 = made_episode(3, T=4)
RED = encode_png(np.full((4, 5, 3), 9, np.uint8))
BOMB = RED[:16] + (60_000).to_bytes(4, "big") * 2 + RED[24:]
OTHER = dataclasses.replace(SPEC, action_names=("a", "b"))
PLACE = Provenance("made/Up-v0", 3, "human")


def where(values: Any, value: float) -> Any:
    out = values.copy()
    out[1] = value
    return out


CASES = [
    # stores
    Case("no such folder", "store", keep, lambda p: EpisodeStore(p / "no"), "no.*header.json is missing"),
    Case("store is a file", "store", keep, lambda p: EpisodeStore(p / HEADER), "header.json"),
    Case("header missing", "store", remove(HEADER), read_store, "header.json"),
    Case("header empty", "store", write(HEADER, ""), read_store, "header.json"),
    Case("header not json", "store", write(HEADER, "{nope"), read_store, "header.json"),
    Case("header not text", "store", write(HEADER, b"\xff\xfe\x00"), read_store, "header.json"),
    Case("header a list", "store", write(HEADER, "[]"), read_store, "format"),
    Case("header nested deep", "store", write(HEADER, "[" * 100_000), read_store, "header.json"),
    Case("header of a newer version", "store", edit_json(HEADER, version=3), read_store, "version 3.*update"),
    Case("header version is text", "store", edit_json(HEADER, version="1"), read_store, "version"),
    Case("header without spec", "store", edit_json(HEADER, spec=None), read_store, "EnvSpec"),
    Case("header changed by hand", "store", edit_json(HEADER, spec_sha256="0" * 64), read_store, "changed or damaged"),
    Case("spec of other cameras", "store", edit_spec(cameras=["front", "left"]), read_store, "EnvSpec"),
    Case("spec of another rate", "store", edit_spec(hz=25.0), read_store, "25.0 Hz"),
    Case("spec of another image size", "store", edit_spec(image_size=[16, 32]), read_store, r"\(32, 32, 3\)"),
    Case("spec of absurd image size", "store", edit_spec(image_size=[10**9, 10**9]), read_store, "image_size"),
    Case("spec with cameras as text", "store", edit_spec(cameras="front"), read_store, "cameras"),
    Case("spec with too few bounds", "store", edit_spec(action_low=[-1.0]), read_store, "action_low"),
    Case("spec with bounds as text", "store", edit_spec(action_low=["a", "b"]), read_store, "action_low"),
    Case("spec with a rate of 0", "store", edit_spec(hz=0), read_store, "hz=0"),
    Case("index truncated", "store", cut(INDEX), read_store, "file-000"),
    Case("index empty", "store", write(INDEX, b""), read_store, "file-000"),
    Case("index is text", "store", write(INDEX, "PAR1 not parquet PAR1"), read_store, "file-000"),
    Case("index missing", "store", remove(INDEX), read_store, "file is missing"),
    Case("index changed by a bit", "store", flip(INDEX, b"raise it"), read_store, "file-000"),
    Case("index points outside", "store", edit_index(**{"data/chunk_index": -1}), read_store, "missing or renamed"),
    Case("index with a path for a checksum", "store", edit_index(data_sha256="../" * 21 + "x"), read_store, "SHA-256"),
    Case("index without instruction", "store", edit_index(tasks=[]), read_store, "instructions"),
    Case("index with a null", "store", edit_index(source=None), read_store, "no source"),
    Case("index with a wrong length", "store", edit_index(length=0), read_store, "0 steps"),
    Case("index with extra that is no json", "store", edit_index(extra="{"), read_store, "file-000"),
    Case("data missing", "store", remove(DATA), read_store, "file-001.*missing"),
    Case("data truncated", "store", cut(DATA), read_store, "file-001.*SHA-256"),
    Case("data changed by a bit", "store", flip(DATA), read_store, "file-001.*SHA-256"),
    Case("final observations truncated", "store", cut(FINAL), read_store, "final.*SHA-256"),
    Case("create in a used folder", "store", keep, lambda p: EpisodeStore.create(p / "data", SPEC), "data: not empty"),
    Case("create over a store", "store", keep, lambda p: EpisodeStore.create(p, SPEC), "already an episode store"),
    Case("create below a file", "store", keep, lambda p: EpisodeStore.create(p / HEADER / "s", SPEC), "header.json"),
    Case("mode w", "store", keep, lambda p: EpisodeStore(p, "w"), "mode is 'w'"),
    Case("line break in a name", "store", keep, lambda p: EpisodeStore(p / "a\nb"), r"a\\nb"),
    # pictures
    Case("png empty", "nothing", keep, png(b""), "image"),
    Case("png is text", "nothing", keep, png(b"no image" * 9), "image"),
    Case("png truncated", "nothing", keep, png(RED[:-20]), "image"),
    Case("png of another size", "nothing", keep, png(RED, (5, 4)), r"\(4, 5, 3\)"),
    Case("png that claims 10 GB", "nothing", keep, png(BOMB), r"60000"),
    # labels
    Case("labels missing", "labels", remove("l.parquet"), read_labels, "l.parquet"),
    Case("labels truncated", "labels", cut("l.parquet"), read_labels, "l.parquet"),
    Case("labels of changed content", "labels", edit_labels({"content_hash": "0" * 64}), read_labels, "damaged"),
    Case("labels of a newer version", "labels", edit_labels({"version": 2}), read_labels, "version 1"),
    Case("labels with other lengths", "labels", edit_labels({"lengths": [1, 2, 3]}), read_labels, "one entry per step"),
    Case("labels with swapped lengths", "labels", edit_labels({"lengths": [18, 16, 24]}), read_labels, "head"),
    Case("labels with negative lengths", "labels", edit_labels({"lengths": [-1, 2, 57]}), read_labels, "lengths"),
    Case("labels with lengths as text", "labels", edit_labels({"lengths": "58"}), read_labels, "lengths"),
    Case("labels with a NaN weight", "labels", edit_labels(weight=np.float32(np.nan)), read_labels, "not fin"),
    Case("labels with a negative weight", "labels", edit_labels(weight=np.float32(-1)), read_labels, "negative"),
    Case("labels with a wrong indicator", "labels", edit_labels(indicator=np.int8(3)), read_labels, "indicator"),
    Case("labels with an unknown column", "labels", edit_labels(speed=1.0), read_labels, "speed"),
    Case(
        "labels of another store", "labels", keep,
        lambda p: Labels.load(p / "l.parquet", EpisodeStore(p.parent.parent / "world/store").select([0])), "made for",
    ),
    # values
    Case("values missing", "values", remove("values.npz"), read_values, "values.npz"),
    Case("values truncated", "values", cut("values.npz"), read_values, "values.npz"),
    Case("values changed by a bit", "values", flip("values.npz"), read_values, "values.npz"),
    Case("values are pickled objects", "values", values(lengths=[1], values=np.array([{}])), read_values, "Object"),
    Case("values with code in a header", "values", npz_member, read_values, "values.npz"),
    Case("values without lengths", "values", values(values=np.zeros(3, np.float32)), read_values, "lengths"),
    Case("values of another length", "values", values(lengths=[9], values=np.zeros(3)), read_values, "9 frames"),
    Case("values of negative length", "values", values(lengths=[-3], values=np.zeros(3)), read_values, "lengths"),
    Case("values of text", "values", values(lengths=[1], values=np.array(["a"])), read_values, "number per frame"),
    # decoded arrays
    Case("decoded array truncated", "decoded", lambda p: cut(next(p.rglob("actions.npy")))(p), read_decoded, "actions"),
    Case("decoded array of objects", "decoded",
         lambda p: np.save(next(p.rglob("actions.npy")), np.array([{}]), allow_pickle=True), read_decoded, "actions"),
    Case("decoded array of another type", "decoded",
         lambda p: np.save(next(p.rglob("actions.npy")), np.zeros((3, 2))), read_decoded, "actions.npy.*float64"),
    # checkpoints
    Case("checkpoint folder missing", "policy", keep, lambda p: load_policy(p / "no"), "no.*config.json"),
    Case("checkpoint without weights", "policy", remove("model.safetensors"), load_policy, "model.safetensors"),
    Case("checkpoint without config", "policy", remove("config.json"), load_policy, "config.json"),
    Case("weights truncated", "policy", cut("model.safetensors"), load_policy, "model.safetensors"),
    Case("weights changed by a bit", "policy", flip("model.safetensors", 0.9), load_policy, "changed or damaged"),
    Case("weights are a pickle", "policy", write("model.safetensors", b"\x80\x04cos\nsystem\n."), load_policy, "safe"),
    Case("weights with an extra key", "policy",
         edit_tensors("model.safetensors", lambda t: t.update(extra=torch.zeros(1))), load_policy, "key 'extra'"),
    Case("weights of another shape", "policy",
         edit_tensors("model.safetensors", lambda t: t.update(action_mean=torch.zeros(9))), load_policy, "action_mean"),
    Case("weights of whole numbers", "policy",
         edit_tensors("model.safetensors", lambda t: t.update(action_mean=torch.zeros(2, dtype=torch.int32))),
         load_policy, "action_mean is torch.int32"),
    Case("config of another kind", "policy", edit_json("config.json", kind="viva"), load_policy, "saved with"),
    Case("config edited by hand", "policy", edit_json("config.json", indicator=1), load_policy, "saved with"),
    Case("config a list", "policy", write("config.json", "[]"), load_policy, "config.json"),
    Case("config of a foreign program", "policy",
         lambda p: save_module(p, torch.nn.Linear(1, 1), {"kind": "pi0"}), load_policy, "pi0"),
    Case("config of another architecture", "policy",
         lambda p: resave(p, lambda c: c["config"].update(width=16)), load_policy, "expected"),
    Case("config with an unknown setting", "policy",
         lambda p: resave(p, lambda c: c["config"].update(depth=16)), load_policy, "depth"),
    Case("config with text for a number", "policy",
         lambda p: resave(p, lambda c: c["config"].update(width="8")), load_policy, "width is '8'"),
    Case("config without EnvSpec", "policy", lambda p: resave(p, lambda c: c.pop("spec")), load_policy, "spec"),
    Case("config of endless layers", "policy",
         lambda p: resave(p, lambda c: c["config"].update(blocks=10**9)), load_policy, "blocks is 1000000000; at most"),
    Case("config of 20 MB", "policy", write("config.json", b"[" + b"0," * (10 << 20) + b"0]"), load_policy, "16 MB"),
    Case("config nested deep", "policy", write("config.json", b"[" * 100_000), load_policy, "config.json"),
    Case("weights whose facts are nested deep", "policy",
         write("model.safetensors", safetensors({"foresight": "[" * 100_000})), load_policy, "model.safetensors"),
    Case("config with a wrong indicator", "policy",
         lambda p: resave(p, lambda c: c.update(indicator=7)), load_policy, "indicator is 7"),
    Case("policy of another EnvSpec", "policy", keep,
         lambda p: make_actor(p, "cpu", None, [SimpleNamespace(spec_=OTHER)]), "action_names"),
    Case("a policy where a value is asked for", "policy", keep, lambda p: load_value(p), "unknown kind 'flow'"),
    Case("a policy where latents are asked for", "policy", keep, lambda p: read_latents(p), "config.json"),
    Case("latents where a policy is asked for", "latents", keep, lambda p: load_policy(p), "unknown kind None"),
    Case("latents changed by a bit", "latents", flip("model.safetensors", 0.9), read_latents, "changed or damaged"),
    Case("latents of another module", "latents", keep, lambda p: load_module(p, torch.nn.Linear(1, 1)), "key"),
    Case("resume file changed by a bit", "resume", flip("r.safetensors", 0.99),
         lambda p: load_tensors(p / "r.safetensors"), "r.safetensors.*damaged"),
    # ledgers and runs
    Case("ledger with a broken line", "ledger", lambda p: edit_line(p, 1, b"{nope"), read_ledger, "line 2"),
    Case("ledger with a list", "ledger", lambda p: edit_line(p, 0, b"[1]"), read_ledger, "line 1"),
    Case("ledger without keys", "ledger", lambda p: edit_line(p, 0, b"{}"), read_ledger, "line 1"),
    Case("ledger, a trial twice", "ledger", lambda p: edit_line(p, 1, read_lines(p)[0]), read_ledger, "line 2.*second"),
    Case("ledger with a lone carriage return", "ledger", lambda p: edit_line(p, 1, b"{\r"), read_ledger, "line 2"),
    Case("ledger is a folder", "ledger", lambda p: (p / "d").mkdir(), lambda p: TrialLedger(p / "d"), "/d: "),
    Case("ledger of another actor", "ledger", keep, evaluate("policy:y"), "seed=0.*source is 'policy:x'"),
    Case("ledger of a stranger", "ledger", lambda p: edit_line(p, 1, b'{"key": "seed=1"}'), evaluate("policy:x"), "="),
    Case("run.json not json", "run", write("run.json", "{"), read_facts, "run.json"),
    Case("run.json a list", "run", write("run.json", "[]"), read_facts, "run.json"),
    Case("run.json with other stages", "run", write("run.json", '{"stages": 3}'), read_facts, "stages"),
    Case("video outside its folder", "run",
         lambda p: write_json(p / "videos/index.json", [{"file": "../../x.mp4", "title": "", "caption": ""}]),
         read_run, "index.json.*x.mp4"),
    # episodes
    Case("actions NaN", "store", keep, append(actions=where(E4.actions, np.nan)), "actions of frame 1"),
    Case("actions Inf", "store", keep, append(actions=where(E4.actions, np.inf)), "actions of frame 1"),
    Case("proprio NaN", "store", keep, append(proprio=where(E4.proprio, np.nan)), "proprio of frame 1"),
    Case("rewards Inf", "store", keep, append(rewards=where(E4.rewards, -np.inf)), "rewards of frame 1"),
    Case("actions float64", "store", keep, append(actions=E4.actions.astype(float)), "actions are float64"),
    Case("actions too wide", "store", keep, append(actions=np.zeros((4, 3), np.float32)), r"\(4, 3\)"),
    Case("too many proprio", "store", keep, append(proprio=np.zeros((4, 11), np.float32)), "proprio.*give 5 entries"),
    Case("too few rewards", "store", keep, append(rewards=np.zeros(3, np.float32)), "rewards.*give 4 entries"),
    Case("no steps", "store", keep, append(actions=np.zeros((0, 2), np.float32)), "no steps"),
    Case("success per step as float", "store", keep, append(terminated=np.zeros(4)), "terminated are float64"),
    Case("images as float", "store", keep, append(images={c: v / 255 for c, v in E4.images.items()}), "float64"),
    Case("images without colour", "store", keep, append(images={c: v[..., 0] for c, v in E4.images.items()}), "uint8"),
    Case("images of another size", "store", keep, append(images={c: v[:, 1:] for c, v in E4.images.items()}), "31"),
    Case("camera missing", "store", keep, append(images={"front": E4.images["front"]}), "cameras are"),
    Case("segments unknown", "store", keep, append(segments=np.full(4, 9, np.int8)), "segments lie"),
    Case("another rate", "store", keep, append(hz=25.0), "25.0 Hz"),
    Case("seed of 65 bits", "store", keep, append(provenance=dataclasses.replace(PLACE, seed=2**64)), "seed is"),
    Case("instruction with half a character", "store", keep, append(instruction="\ud800"), "instruction"),
    Case("extra with an object", "store", keep, append(extra={"a": object()}), "extra"),
    Case("EnvSpec with a name twice", "nothing", keep, lambda p: _spec(cameras=("a", "a")), "cameras"),
    Case("EnvSpec without a rate", "nothing", keep, lambda p: _spec(hz=float("nan")), "hz=nan"),
    Case("EnvSpec that is no json", "nothing", keep, lambda p: EnvSpec.from_json("[]"), "EnvSpec"),
]  # fmt: skip

SPECIAL: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": Path.mkdir,
}
"""What can lie where a file is expected; the first two can be read for ever."""
for _what, _make in SPECIAL.items():
    for _part, _name, _read in (
        ("store", HEADER, read_store),
        ("store", INDEX, read_store),
        ("store", DATA, read_store),
        ("store", FINAL, read_store),
        ("labels", "l.parquet", read_labels),
        ("values", "values.npz", read_values),
        ("policy", "config.json", load_policy),
        ("policy", "model.safetensors", load_policy),
        ("latents", "config.json", read_latents),
        ("resume", "r.safetensors", lambda p: load_tensors(p / "r.safetensors")),
        ("ledger", "t.jsonl", read_ledger),
        ("run", "run.json", read_facts),
        ("run", "run.json", read_run),
        ("decoded", "*/actions.npy", read_decoded),
    ):
        CASES.append(
            Case(
                f"{_part}: {_name} is {_what} ({_read.__name__})",
                _part,
                replaced(_name, _make),
                _read,
                Path(_name).stem,
            )
        )


def _spec(**changes: Any) -> EnvSpec:
    return dataclasses.replace(SPEC, **changes)


WAY_OUT = re.compile(
    r"\b(use|choose|restore|delete|make|give|name|train|record|open|free|install|leave|wait|update|fix|remove|convert|"
    r"must|try|take|expected|label|lower|fit|keep|encode|known are|write)\b"
)
