"""Local vision-language models: tiny random Qwen-VL and Gemma classes, loaded from folders as published ones are."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.tiny_vlm import save_gemma, save_qwen
from tests.helpers.vlm_server import made_episode, serving
from valuefns.gvl.backend import Prefixes
from valuefns.gvl.backends import make_backend
from valuefns.gvl.local import prefix_log_probabilities
from valuefns.gvl.method import GVL
from valuefns.gvl.prefixes import TopReward
from valuefns.gvl.questions import Question
from valuefns.gvl.settings import BackendConfig, GVLConfig, TopRewardConfig

FAMILIES: dict[str, Callable[[Path], Path]] = {
    "qwen2.5": save_qwen, "qwen3": lambda folder: save_qwen(folder, "3"), "gemma3": save_gemma
}  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: save(tmp_path_factory.mktemp(name)) for name, save in FAMILIES.items()}


def local(folder: Path, tmp_path: Path | None = None, **changes: Any) -> BackendConfig:
    cache = str(tmp_path / "cache") if tmp_path else ""
    return BackendConfig(kind="local", model=str(folder), dtype="float32", cache=cache, **changes)


def images(n: int) -> tuple[np.ndarray, ...]:
    return tuple(np.random.default_rng(0).integers(0, 256, (n, 12, 16, 3), np.uint8))


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_do_not_depend_on_the_batch_and_come_from_the_cache_next_time(
    folders: dict[str, Path], tmp_path: Path, family: str
) -> None:
    a, b, c = images(3)
    asked = [Question(("look: ", a, " and ", b, "?"), 8), Question((c, "?"), 5), Question(("words alone?",), 6)]
    together = make_backend(local(folders[family], tmp_path, batch=3))
    answers = together.ask(asked)
    alone = make_backend(local(folders[family], tmp_path / "b", batch=1)).ask(asked)
    assert answers == alone and together.usage.answers == 3
    for answer, question in zip(answers, asked, strict=True):
        cut = answer.completion_tokens == question.max_tokens
        assert answer.finish == ("length" if cut else "stop") and answer.completion_tokens <= question.max_tokens
    again = make_backend(local(folders[family], tmp_path, batch=3))
    assert again.ask(asked) == answers and again.usage.answers == 0 and again.__dict__["_model"] is None


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("word", ["True", "Tricky"])  # one token, and several
def test_kept_prefixes_give_what_reading_each_prefix_anew_gives(
    folders: dict[str, Path], family: str, word: str
) -> None:
    model = make_backend(local(folders[family])).model  # type: ignore[attr-defined]
    prefixes = Prefixes("A video:\n", images(7), (1, 2, 4, 7), "\nDone? True or False")
    seen = []
    encoder = model.model.model.visual if family != "gemma3" else model.model.model.vision_tower
    hook = encoder.register_forward_hook(lambda module, args, kwargs, out: seen.append(1), with_kwargs=True)
    told, read = prefix_log_probabilities(model, prefixes, word)
    hook.remove()
    assert len(seen) == 4  # each frame's picture is encoded once
    target = model.tokenizer.encode(word, add_special_tokens=False)
    whole = 0
    for k, value in zip(prefixes.ends, told, strict=True):
        inputs = model.inputs([prefixes.parts(k)])
        inputs = {n: v for n, v in inputs.items() if n != "attention_mask"}
        n = inputs["input_ids"].shape[1]
        whole += n
        for name in ("input_ids", "mm_token_type_ids", "token_type_ids"):
            if name in inputs:
                more = torch.tensor([target]) if name == "input_ids" else torch.zeros(1, len(target), dtype=torch.long)
                inputs[name] = torch.cat([inputs[name], more], 1)
        with torch.no_grad():
            logits = model.model(**inputs).logits[0, n - 1 : n - 1 + len(target)].log_softmax(-1)
        assert value == pytest.approx(float(logits[range(len(target)), target].sum()), abs=2e-5)
    assert len(set(np.round(told, 6))) == 4 and read < whole + 4 * len(target)


def test_gvl_and_topreward_run_on_a_local_model(folders: dict[str, Path], tmp_path: Path) -> None:
    episode = dataclasses.replace(made_episode(0, T=12), images={"front": np.stack(images(13))})
    config = local(folders["qwen2.5"], tmp_path)
    (prediction,) = GVL(GVLConfig(backend=config, frames=4, attempts=2, max_tokens=12)).predict([episode])
    assert prediction.missing == 4 and prediction.refused == 1  # a random model says nothing: that is reported
    value = TopReward(TopRewardConfig(backend=config, prefixes=3, scale="probability"))
    score = value.score(episode)
    assert score.shape == (13,) and (score > 0.5).all() and (score < 1).all()
    again = TopReward(TopRewardConfig(backend=config, prefixes=3, scale="probability"))
    np.testing.assert_array_equal(again.score(episode), score)
    assert again.backend.usage.answers == 0
    over_http = tiny_endpoint(value)
    with serving(over_http) as server:
        remote = BackendConfig(model="tiny", url=server.url, key_env="", cache="", image_format="png")
        served = TopReward(TopRewardConfig(backend=remote, prefixes=3, scale="probability")).score(episode)
        (prediction,) = GVL(GVLConfig(backend=remote, frames=4, attempts=2, max_tokens=12)).predict([episode])
    assert prediction.missing == 4 and prediction.asked == 2
    told = ~np.isnan(served)
    np.testing.assert_allclose(served[told], score[told], atol=1e-4)


def tiny_endpoint(value: TopReward) -> Callable[[list], Any]:
    """The tiny model behind the HTTP protocol; it lists all of its vocabulary."""
    import valuefns.gvl.local as module

    model = value.backend.model  # type: ignore[attr-defined]

    def answer(parts: list) -> Any:
        with torch.inference_mode():
            out = model.model(**model.inputs([parts])).logits[0, -1]
        first = module._likeliest(out, model.tokenizer, len(out))
        top = [{"token": t, "logprob": p} for t, p in first.items()]
        best = max(top, key=lambda e: e["logprob"])
        return {
            "message": {"content": best["token"]},
            "logprobs": {"content": [best | {"top_logprobs": top}]},
        }

    return answer


def test_what_cannot_be_used_is_one_line(folders: dict[str, Path], tmp_path: Path) -> None:
    def fails(config: BackendConfig, match: str, parts: tuple = ("a", images(1)[0])) -> None:
        with pytest.raises(ValueError, match=match) as error:
            make_backend(config).ask([Question(parts, 4)])
        assert "\n" not in str(error.value)

    fails(local(tmp_path / "nowhere"), "nowhere: cannot be used as a vision-language model")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "config.json").write_text('{"model_type": "gpt2"}')
    fails(local(tmp_path / "text"), "model type 'gpt2' is none of qwen2_vl")
    short = save_qwen(tmp_path / "short", context=40)
    fails(local(short), "the prompt has .* tokens, its context 40; lower frames", ("a" * 50, images(1)[0]))
    with pytest.raises(ValueError, match=r"backend\.model is empty"):
        make_backend(BackendConfig(kind="local"))


def test_sampling_repeats_itself(folders: dict[str, Path]) -> None:
    asked = [Question((images(1)[0], "?"), 12)]
    warm = local(folders["gemma3"], temperature=2.0)
    texts = [make_backend(warm).ask(asked)[0].text for _ in range(2)]
    assert texts[0] == texts[1] != make_backend(local(folders["gemma3"])).ask(asked)[0].text
