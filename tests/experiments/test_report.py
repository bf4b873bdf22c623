"""The report of a run: complete, with pieces missing, hostile names, malformed files, right numbers; the videos."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from episodes.intervals import wilson
from experiments.loop.videos import titles
from experiments.report.facts import headline, ranked, shown_episodes, trials_of, wrong
from experiments.report.files import read_run
from experiments.report.page import write_report
from experiments.report.video import axis_limits, draw_video

RATES = {"bc": 0.53, "filtered_bc": 0.97, "awr": 0.93, "recap": 0.95, "recap, shuffled advantages": 0.57}
VARIANTS = ("expert", "hesitation", "retry_miss", "hesitation+retry_drop", "failure")


def synthetic_run(folder: Path, variants: tuple[str, ...] = VARIANTS, trials: int = 60, store: int = 40) -> Path:
    """A run folder of realistic shapes: five methods on common trials, a labelled store, losses, videos."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    difficulty = rng.random(trials)
    columns: dict[str, list] = {k: [] for k in ("arm", "method", "iteration", "seed", "success", "steps", "seconds")}
    rows = []
    for method, rate in RATES.items():
        solved = 0.7 * difficulty + 0.3 * rng.random(trials) < np.quantile(0.7 * difficulty + 0.15, rate)
        steps = np.where(solved, rng.integers(28, 60, trials), 80)
        values = (method, method, 1, np.arange(900000, 900000 + trials), solved, steps, steps / 10 + 1.5)
        for name, value in zip(columns, values, strict=True):
            columns[name] += [value] * trials if np.ndim(value) == 0 else value.tolist()
        low, high = wilson(int(solved.sum()), trials)
        hours = float((steps / 10 + 1.5).sum() / 3600)
        row = {
            "method": method,
            "arm": method,
            "iteration": 1,
            "success": float(solved.mean()),
            "low": low,
            "high": high,
        }
        rows.append({**row, "success": float(solved.mean()), "n": trials, "per_hour": float(solved.sum()) / hours})
    pq.write_table(pa.table(columns), folder / "episodes.parquet")
    command = "python -m experiments.recap_sim preset=tiny seed=0 out='runs'"
    write_json(folder / "summary.json", {"command": command, "seed": 0, "rows": rows})
    pq.write_table(pa.Table.from_pylist(synthetic_frames(rng, variants, store)), folder / "frames.parquet")
    stages = {"collect": 48.2, "pretrain": 31.0, "value, fold 0": 22.4, "value, fold 1": 22.9, "score": 9.3}
    stages |= {f"policy, {name}": 28.0 + i for i, name in enumerate(RATES)} | {"evaluate": 96.1, "report": 3.4}
    run = {"title": "RECAP in simulation: Lift", "command": command, "config_hash": "9f1c0a7be2", "seed": 0}
    run |= {"started": "2025-01-14T10:12:03", "finished": "2025-01-14T10:19:40", "stages": stages}
    write_json(folder / "run.json", run)
    packages = {"numpy": "1.26.4", "torch": "2.9.0", "diffusers": "0.36.0", "mujoco": "3.3.0"}
    device = {"git_revision": "e0df265aa01b4c", "device": "cpu, 2 cores", "platform": "Linux x86_64"}
    write_json(folder / "environment.json", {**device, "packages": packages})
    (folder / "config.yaml").write_text("seed: 0\nvaluefn:\n  name: viva\n  width: 64\nlabeller: recap\n" * 6)
    measures = [("VOC", "rank correlation with time, experts", 0.93), ("AUC", "advancing against other frames", 0.82)]
    value_rows = [
        {"name": name, "what": what, "mean": m - d, "low": m - d - 0.03, "high": m - d + 0.03, "n": 40}
        for name, d in (("viva", 0.0), ("constant", 0.08))
        for _, what, m in measures
    ]
    note = "A frozen PCA of 16 x 16 patches stands for the video VAE."
    write_json(folder / "value_metrics.json", {"rows": value_rows, "latents": "patch_pca", "note": note})
    groups = [("all", "all steps"), ("outcome", "success"), ("phase", "0.0-0.1"), ("phase", "0.1-0.2")]
    labels = [
        {"labels": method, "by": by, "group": group, "steps": 100, "kept": 0.6, "weight": 1.0, "effective": 0.6,
         "starved": method == "recap" and group == "0.1-0.2"}
        for method in ("awr", "recap") for by, group in groups
    ]  # fmt: skip
    write_json(folder / "label_report.json", {"rows": labels})
    with (folder / "metrics.jsonl").open("w") as file:
        for stage, start in (("value/0", 1.2), ("value/1", 1.2), ("policy/bc", 0.9), ("policy/recap", 0.9)):
            for step in range(0, 1500, 10):
                loss = start * (0.03 + np.exp(-step / 250)) * np.exp(0.15 * rng.normal())
                file.write(json.dumps({"stage": stage, "step": step, "loss": loss, "lr": 1e-3}) + "\n")
    add_videos(folder, rng)
    return folder


def synthetic_frames(rng: np.random.Generator, variants: tuple[str, ...], store: int) -> list[dict]:
    frames = []
    for episode in range(store):
        variant = variants[episode % len(variants)]
        success, T = variant != "failure", int(rng.integers(50, 80))
        segment = np.array(["advance"] * T, object)
        for word, label in (("hesitation", "hesitation"), ("retry", "retry"), ("failure", "failure")):
            if word in variant:
                start = int(rng.integers(10, 22)) if word == "hesitation" else int(rng.integers(28, 36))
                segment[start : T if word == "failure" else start + 12] = label
        slope = np.select([segment == "advance", segment == "hesitation"], [1.0, 0.0], -1.0)
        oracle = np.clip(np.cumsum(slope) / max((segment == "advance").sum() - (segment == "retry").sum(), 1), 0, 1)
        noise = np.convolve(rng.normal(0, 0.1, T), np.ones(5) / 5, "same")
        value = np.clip(0.1 + 0.75 * oracle + noise, 0, 1)
        advantage = np.append(value[10:], np.full(10, value[-1])) - value - 0.1
        indicator = (advantage > 0.02).astype(int)
        stage = np.floor(oracle * 5) / 5
        for t in range(T):
            row = {"episode": episode, "frame": t, "variant": variant, "success": success, "segment": segment[t]}
            row |= {"value": value[t], "progress": stage[t], "oracle": oracle[t], "advantage": advantage[t]}
            frames.append({**row, "indicator": int(indicator[t]), "weight": float(np.exp(advantage[t]))})
    return frames


def add_videos(folder: Path, rng: np.random.Generator) -> None:
    index, T = [], 60
    for name, success in (("recap-900000", True), ("bc-900003", False), ("awr-900001", True)):
        value = np.clip(np.linspace(0.1, 0.95 if success else 0.4, T) + 0.03 * rng.normal(size=T), 0, 1)
        cameras = [moving_square(T, 64, hue) for hue in (0, 1)]
        labels = ["advance"] * 20 + ["hesitation"] * 12 + ["advance" if success else "failure"] * (T - 32)
        truth = np.linspace(0, 1 if success else 0.3, T)
        draw_video(folder / "videos" / f"{name}.mp4", cameras, value, truth, f"{name}: value over time", 10, labels)
        caption = "Blue: the value as the policy runs; thin: simulator progress."
        index.append({"file": f"{name}.mp4", "title": name, "caption": caption})
    write_json(folder / "videos" / "index.json", index)


def moving_square(T: int, size: int, hue: int) -> np.ndarray:
    frames = np.full((T, size, size, 3), (196, 188, 176), np.uint8)
    for t in range(T):
        frames[t, size // 2 : size // 2 + 9, t % (size - 9) : t % (size - 9) + 9] = ((190, 40, 40), (40, 90, 190))[hue]
    return frames


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_run(tmp_path_factory.mktemp("runs") / "recap_sim" / "20250114-101203")


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(made, tmp_path / "recap_sim" / "run"))


class Page(HTMLParser):
    """Checks that tags nest, that ids are unique and references are met; collects rows, external addresses and text."""

    VOID = frozenset(("meta", "br", "img", "link", "input", "hr", "source"))

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.refs: set[str] = set(re.findall(r"url\(#([^)]+)\)", html))
        self.outside: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"
        assert len(set(self.ids)) == len(self.ids), "an id stands twice"
        assert self.refs <= set(self.ids), f"references to nothing: {sorted(self.refs - set(self.ids))[:3]}"

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        named = dict(attrs)
        self.seen.append((tag, named))
        if tag not in self.VOID:
            self.open.append(tag)
        if "id" in named:
            self.ids.append(named["id"])
        for name in ("src", "href", "xlink:href", "poster"):
            where = named.get(name) or ""
            if where.startswith("#"):
                self.refs.add(where[1:])
            elif where and not where.startswith("data:"):
                self.outside.append(where)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data.replace("\N{NO-BREAK SPACE}", " ")


def test_a_complete_run(run: Path) -> None:
    html = write_report(run).read_text()
    page = Page(html)
    assert html.startswith("<!DOCTYPE html>") and 'lang="en"' in html and "<title>RECAP in simulation: Lift" in html
    assert 'class="missing"' not in html
    assert page.outside == [], "nothing is loaded from outside the page"
    figures = [attrs for tag, attrs in page.seen if tag == "svg"]
    assert 'class="warning"' in html and "recap at progress 0.1-0.2" in html, "a starved phase is said loudly"
    assert len(figures) == 7 and all(f["role"] == "img" and len(f["aria-label"] or "") > 20 for f in figures)
    assert sum(tag == "video" for tag, _ in page.seen) == 3
    assert "out=&#39;runs&#39;" in html, "the exact command stands on the page"
    assert "patch_pca" in html and "git revision" in html and "width: 64" in html
    assert html == write_report(run).read_text(), "the same files give the same page"
    assert len(html) < 2_000_000


def test_the_table_says_what_the_summary_says(run: Path) -> None:
    rows = json.loads((run / "summary.json").read_text())["rows"]
    table = {cells[0]: cells for cells in Page(write_report(run).read_text()).rows if cells}
    for row in rows:
        _, success, interval, n, per_hour, _ = table[row["method"]]
        assert success == f"{100 * row['success']:.1f} %"
        assert interval == f"{100 * row['low']:.1f} to {100 * row['high']:.1f} %"
        assert (n, per_hour) == (str(row["n"]), f"{row['per_hour']:.1f}")


def test_the_headline_is_computed(run: Path) -> None:
    files = read_run(run)
    assert files.summary and files.episodes
    said = headline(files.summary, files.episodes).replace("\N{NO-BREAK SPACE}", " ")
    solved = {m: files.episodes["success"][files.episodes["method"] == m] for m in RATES}
    assert said.startswith(f"filtered_bc solved {100 * solved['filtered_bc'].mean():.1f} % of 60 evaluation episodes")
    alone = int((solved["filtered_bc"] & ~solved["bc"]).sum()), int((solved["bc"] & ~solved["filtered_bc"]).sum())
    assert f"{alone[0]} solved only by filtered_bc, {alone[1]} only by bc; the interval excludes zero" in said
    for row in files.summary:
        row.update(success=0.5, low=0.4, high=0.6, per_hour=1.0)
    assert headline(files.summary, files.episodes).startswith("No method solved more than plain behaviour cloning: bc")
    next(row for row in files.summary if row["method"] == "filtered_bc")["success"] = 0.99
    said = headline(files.summary, files.episodes)
    assert said.startswith("filtered_bc solved 99.0") and "trials both had" not in said, "the episodes say otherwise"


@pytest.mark.parametrize(
    "name",
    ["run.json", "config.yaml", "environment.json", "summary.json", "episodes.parquet", "frames.parquet"]
    + ["value_metrics.json", "label_report.json", "metrics.jsonl", "videos"],
)
def test_a_missing_file_is_a_sentence(run: Path, name: str) -> None:
    (run / name).rename(run.parent / "elsewhere")
    html = write_report(run).read_text()
    Page(html)
    assert re.search(rf'class="missing">{re.escape(name)}/? (is not|holds no)', html)


def test_an_empty_folder_and_an_unfinished_run(tmp_path: Path) -> None:
    html = write_report(tmp_path).read_text()
    Page(html)
    assert html.count('class="missing"') >= 9
    write_json(tmp_path / "run.json", {"command": "x", "stages": {"collect": 3.0}, "finished": None})
    (tmp_path / "metrics.jsonl").write_text(
        '{"stage": "value", "step": 0, "loss": 1.0}\n'
        '{"stage": "value", "step": 1, "loss": NaN}\n{"stage": "val'  # killed here
    )
    html = write_report(tmp_path).read_text()
    Page(html)
    assert "has not finished" in html and "Training loss of value" in html and "value (1 not finite)" in html
    with pytest.raises(ValueError, match="is not a folder"):
        write_report(tmp_path / "nowhere")


def test_users_text_is_escaped(tmp_path: Path) -> None:
    hostile = '<script>alert("$1_{x}")</script>'
    run = synthetic_run(tmp_path / "run", variants=(hostile + "expert", "failure"), store=4)
    write_json(run / "run.json", {**json.loads((run / "run.json").read_text()), "title": hostile, "command": hostile})
    (run / "config.yaml").write_text(hostile)
    rows = json.loads((run / "summary.json").read_text())["rows"]
    write_json(run / "summary.json", {"rows": [{**row, "method": hostile} for row in rows]})
    page = Page(write_report(run).read_text())
    assert not any(tag == "script" for tag, _ in page.seen)
    assert any(cells and cells[0].startswith("<script>") for cells in page.rows), "shown as text"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", "{"),
        ("run.json", '{"stages": ["collect"]}'),
        ("summary.json", '{"rows": [{"method": "bc"}]}'),
        ("summary.json", '{"rows": [{"method": "bc", "success": "all", "low": 0, "high": 1, "per_hour": 1, "n": 1}]}'),
        ("value_metrics.json", "[]"),
        ("label_report.json", '{"rows": [{"labels": "awr"}]}'),
        ("environment.json", '{"packages": []}'),
        ("metrics.jsonl", 'no\n{"stage": "a", "loss": 1}\n'),
        ("episodes.parquet", "PAR1 but no more"),
        ("frames.parquet", ""),
        ("videos/index.json", '[{"file": "../../secret.mp4", "title": "", "caption": ""}]'),
        ("videos/bc-900003.mp4", "no video"),
    ],
)
def test_a_malformed_file_is_one_line_that_names_it(run: Path, name: str, content: str) -> None:
    (run / name).write_text(content)
    with pytest.raises(ValueError) as error:
        write_report(run)
    assert str(run / name) in str(error.value) and "\n" not in str(error.value)
    assert not (run / "report.html").exists()


def test_malformed_columns_are_named(run: Path) -> None:
    pq.write_table(pq.read_table(run / "episodes.parquet").drop_columns(["seed"]), run / "episodes.parquet")
    with pytest.raises(ValueError, match=r"episodes.parquet: column seed is missing"):
        write_report(run)
    (run / "episodes.parquet").unlink()
    frames = pq.read_table(run / "frames.parquet").to_pylist()
    pq.write_table(pa.Table.from_pylist([{**f, "segment": "dither"} for f in frames]), run / "frames.parquet")
    with pytest.raises(ValueError, match=r"frames.parquet: segment is 'dither', expected one of advance"):
        write_report(run)


def test_the_episodes_shown_are_the_first_of_each_style(run: Path) -> None:
    frames = read_run(run).frames
    assert frames is not None
    shown = [(kind, int(e["episode"][0]), e["variant"][0]) for kind, e in shown_episodes(frames)]
    assert shown == [
        ("expert", 0, "expert"), ("expert", 5, "expert"),
        ("hesitation", 1, "hesitation"), ("hesitation", 6, "hesitation"),
        ("retry", 2, "retry_miss"), ("retry", 7, "retry_miss"), ("failure", 4, "failure"), ("failure", 9, "failure"),
    ]  # fmt: skip


def test_videos_past_the_limit_are_linked(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = [(run / "videos" / f"{name}.mp4").stat().st_size for name in ("recap-900000", "bc-900003")]
    monkeypatch.setattr("experiments.report.page.INLINE_BYTES", sizes[0] + sizes[1] - 1)
    page = Page(write_report(run).read_text())
    assert "videos/bc-900003.mp4" in page.outside and "videos/recap-900000.mp4" not in page.outside


def test_a_video_plays_and_shows_its_value(tmp_path: Path) -> None:
    T = 80
    value = np.linspace(0, 1, T)
    cameras = [moving_square(T, 64, 0), moving_square(T, 64, 1)]
    path = draw_video(tmp_path / "a.mp4", cameras, value, None, "t" * 200, 12.5)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate) == 12.5
        pictures = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    assert len(pictures) == T and pictures[0].shape[1] == 516
    blue = [int(((p[290:, :460, 2] - p[290:, :460, 0]) > 90).sum()) for p in pictures]
    assert blue[10] < blue[40] < blue[79], "the curve grows"
    assert list(tmp_path.iterdir()) == [path]


def test_a_video_of_odd_sizes_and_unknown_values(tmp_path: Path) -> None:
    frames = np.zeros((3, 48, 85, 3), np.uint8)
    path = draw_video(tmp_path / "a.mp4", frames, [np.nan, -0.5, np.nan], np.full(3, np.nan), segments=[0, 3, 4])
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 3
    draw_video(path, frames[:1], [0.5])
    with pytest.raises(ValueError, match="truth has 2 entries for 3 values"):
        draw_video(path, frames, [0, 0, 0], [0, 0])
    with pytest.raises(ValueError, match="camera 0 is uint8"):
        draw_video(path, frames, [0, 0])


def test_a_row_counts_the_trials_of_its_own_arm_and_iteration() -> None:
    """Two arms of one method with equal figures: which trials a row counted is told, not guessed from its success."""
    both = {
        "arm": np.repeat(["awr", "awr+shuffled"], 4),
        "method": np.array(["awr"] * 8),
        "iteration": np.zeros(8, int),
    }
    both |= {"seed": np.tile(np.arange(4), 2), "success": np.array([1, 1, 0, 0, 0, 0, 1, 1], bool)}
    row = {"method": "awr, shuffled", "arm": "awr+shuffled", "iteration": 0, "n": 4, "success": 0.5}
    found = trials_of(row, both)
    assert found is not None and found.success.tolist() == [False, False, True, True]
    assert trials_of({k: v for k, v in row.items() if k != "arm"}, both) is None
    assert trials_of(row | {"success": 0.75}, both) is None


def test_the_winner_is_first_everywhere_and_references_last(run: Path) -> None:
    page = Page(write_report(run).read_text())
    named = [cells[0] for cells in page.rows if cells and cells[0] in RATES]
    by_success = sorted(
        RATES, key=lambda name: -next(r["success"] for r in read_run(run).summary if r["method"] == name)
    )
    assert named == by_success
    rows = [{"method": m, "success": s, "per_hour": 1.0} for m, s in (("oracle", 1.0), ("bc", 0.4), ("awr", 0.6))]
    assert [row["method"] for row in ranked(rows)] == ["awr", "bc", "oracle"]


def test_a_phone_has_every_cell_and_print_every_video(run: Path) -> None:
    html = write_report(run).read_text()
    page = Page(html)
    cells = [attrs.get("data-column") for tag, attrs in page.seen if tag == "td"]
    assert {"Solved", "95 % interval", "Against bc, points", "Mean weight"} <= set(cells)
    printed = [attrs for tag, attrs in page.seen if tag == "img" and attrs.get("class") == "printed"]
    assert len(printed) == 3 and all((image["src"] or "").startswith("data:image/jpeg") for image in printed)
    assert html.count('<details class="how">') >= 4


def test_the_page_ends_in_what_to_do_next(run: Path) -> None:
    html = write_report(run).read_text().replace("&#34;", '"')
    assert f'foresight.load_policy("{run}")' in html
    assert f"foresight serve {run}/arms/filtered_bc/policy-1" in html and "+sweep=seeds" in html


@pytest.mark.parametrize(
    ("value", "success", "said"),
    [
        ([0.0, 0.9], True, ""),
        ([0.5, -0.4, np.nan], False, ""),
        ([0.0, 0.31], False, "wrong: the value ends at 0.31, as if it succeeded"),
        ([0.9, -0.2], True, "wrong: the value ends at -0.20, as if it failed"),
        ([np.nan], True, ""),
    ],
)
def test_a_value_that_is_wrong_about_the_end_is_named_so(value: list[float], success: bool, said: str) -> None:
    assert wrong(np.array(value), success) == said


def test_a_wrong_value_is_named_in_the_curves(run: Path) -> None:
    html = write_report(run).read_text()
    assert html.count("not solved: value wrong") == 2, "the synthetic failures end above 0"


def test_videos_share_one_axis() -> None:
    assert axis_limits([np.array([0.2, np.nan]), np.array([0.9])]) == (0.0, 1.0)
    assert axis_limits([np.array([-0.5, 0.2]), np.array([1.2])]) == (-0.5, 1.2)
    assert axis_limits([np.array([np.nan])]) == (0.0, 1.0)


def test_the_winner_is_named_only_where_it_solved_more() -> None:
    assert titles([("recap", 0.5), ("bc", 0.25)]) == {"recap": "Policy recap (most episodes solved)", "bc": "Policy bc"}
    assert titles([("bc", 0.5), ("recap", 0.5)]) == {"bc": "Policy bc", "recap": "Policy recap"}
