"""Published checkpoints: every tensor of the published layouts finds its place, and anything else is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from networks import hub
from networks.hub import locate
from networks.published import load_pretrained
from networks.settings import TextConfig, WanConfig, WanVAEConfig
from networks.text import TextEmbedder
from networks.wan import load_transformer, load_vae
from tests.helpers import published_layout as layout


def same(model: Any, tensors: dict[str, Tensor], renamed: Any = lambda key: key) -> None:
    found = model.state_dict()
    for key, tensor in tensors.items():
        assert torch.equal(found[renamed(key)].float(), tensor), key


def test_wan_loads_from_its_sharded_folder(tmp_path: Path) -> None:
    tensors = {part: layout.write_part(layout.WAN, part, tmp_path) for part in ("transformer", "vae", "text_encoder")}
    layout.write_tokenizer(tmp_path / "tokenizer", ("raise", "it"))
    transformer = load_transformer(WanConfig(str(tmp_path)))
    same(transformer, tensors["transformer"])
    assert transformer.config.num_layers == 2 and not transformer.training
    same(load_vae(WanVAEConfig(str(tmp_path))), tensors["vae"])
    text = TextEmbedder(TextConfig(str(tmp_path), max_length=6))
    seen = text.embed(["raise it", "raise"])
    assert seen.shape == (2, 6, 16) and (seen[0, 3:] == 0).all() and (seen[1, 2:] == 0).all()
    assert (seen[0, :3].abs().sum(1) > 0).all() and not torch.equal(seen[0, 0], seen[1, 0])


def test_umt5_takes_its_words_from_the_one_matrix_the_file_holds(tmp_path: Path) -> None:
    from transformers import UMT5EncoderModel

    tensors = layout.write_part(layout.WAN, "text_encoder", tmp_path)
    assert "encoder.embed_tokens.weight" not in tensors
    model = load_pretrained(UMT5EncoderModel, str(tmp_path), "text_encoder", what="text")
    same(model, tensors)
    assert torch.equal(model.encoder.embed_tokens.weight, tensors["shared.weight"])


def test_cogvideox_loads_from_its_folder(tmp_path: Path) -> None:
    from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
    from transformers import T5EncoderModel

    parts = {"transformer": CogVideoXTransformer3DModel, "vae": AutoencoderKLCogVideoX, "text_encoder": T5EncoderModel}
    for part, cls in parts.items():
        tensors = layout.write_part(layout.COGVIDEOX, part, tmp_path)
        same(load_pretrained(cls, str(tmp_path), part, what="cogvideox"), tensors)
    half = load_pretrained(
        CogVideoXTransformer3DModel, str(tmp_path), "transformer", what="cogvideox", dtype=torch.bfloat16
    )
    assert half.proj_out.weight.dtype == torch.bfloat16


def test_paligemma_siglip_and_gemma_load_from_their_files(tmp_path: Path) -> None:
    from transformers import Gemma3TextModel, PaliGemmaForConditionalGeneration, SiglipVisionModel

    words = layout.write_part(layout.PALIGEMMA, "", tmp_path / "p")
    model = load_pretrained(PaliGemmaForConditionalGeneration, str(tmp_path / "p"), what="paligemma").model
    vision = "vision_tower.vision_model."
    same(
        model,
        words,
        lambda k: k.replace(vision, "vision_tower.").replace("language_model.model.", "language_model."),
    )
    seen = layout.write_part(layout.SIGLIP, "", tmp_path / "s")
    unused = ("text_model.", "logit_")
    model = load_pretrained(SiglipVisionModel, str(tmp_path / "s"), what="siglip", unused=unused)
    names = model.state_dict()
    prefix = "vision_model." if "vision_model.post_layernorm.bias" in names else ""
    of_vision = {k: t for k, t in seen.items() if k.startswith("vision_model.")}
    same(model, of_vision, lambda k: prefix + k.removeprefix("vision_model."))
    with pytest.raises(ValueError, match=r"unknown \(logit_bias, logit_scale, text_model"):
        load_pretrained(SiglipVisionModel, str(tmp_path / "s"), what="siglip")
    said = layout.write_part(layout.GEMMA, "", tmp_path / "g")
    same(load_pretrained(Gemma3TextModel, str(tmp_path / "g"), what="gemma"), said, lambda k: k.removeprefix("model."))


def spoil(change: Any) -> Any:
    def spoilt(folder: Path) -> None:
        tensors = layout.tensors_of(layout.WAN, "transformer")
        change(tensors)
        layout.write_part(layout.WAN, "transformer", folder, tensors)

    return spoilt


def whole(change: Any) -> Any:
    def spoilt(folder: Path) -> None:
        layout.write_part(layout.WAN, "transformer", folder)
        change(folder / "transformer")

    return spoilt


SECOND = "diffusion_pytorch_model-00002-of-00003.safetensors"


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (
            spoil(lambda t: [t.pop(k) for k in list(t) if k.startswith("blocks.1.")]),
            r"27 missing \(blocks\.1\.attn1\.norm_k\.weight, .*, \.\.\.\); name a folder of a WanTransformer3DModel",
        ),
        (spoil(lambda t: t.update({"blocks.2.ffn.net.2.bias": torch.zeros(24)})), r"1 unknown \(blocks\.2\.ffn"),
        (
            spoil(lambda t: t.update({"proj_out.bias": torch.zeros(7)})),
            r"1 of another shape \(proj_out\.bias is \(7,\), expected \(192,\)\)",
        ),
        (whole(lambda f: (f / SECOND).unlink()), f"the shard {SECOND} is missing"),
        (whole(lambda f: (f / SECOND).write_bytes(b"junk")), f"{SECOND} is no readable safetensors file"),
        (
            whole(lambda f: save_file({"proj_out.bias": torch.zeros(192)}, f / SECOND)),
            f"{SECOND} lacks .*, which the index places there",
        ),
        (
            whole(lambda f: (f / "diffusion_pytorch_model.safetensors.index.json").write_text('{"weight_map": 3}')),
            "is no index",
        ),
        (whole(lambda f: (f / "config.json").write_text("{")), "transformer"),
        (whole(lambda f: (f / "config.json").write_text("[" * 100_000)), r"config\.json cannot be read"),
        (
            whole(lambda f: (f / "config.json").write_text('{"a": [{"num_layers": 1000000000}]}')),
            r"config\.json says num_layers=1000000000, there are \d+ tensors",
        ),
        (
            lambda f: ((f / "transformer").mkdir(), (f / "transformer" / "pytorch_model.bin").write_bytes(b"x")),
            r"no model\.safetensors or diffusion_pytorch_model\.safetensors .*there: pytorch_model\.bin",
        ),
    ],
    ids=["missing", "unknown", "shape", "shard", "damaged", "index", "no index", "config", "deep", "endless", "pickle"],
)
def test_what_does_not_fit_is_refused_in_one_line(write: Any, said: str, tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(ValueError, match=said) as error:
        load_transformer(WanConfig(str(tmp_path)))
    assert "\n" not in str(error.value) and len(str(error.value)) < 700
    assert str(tmp_path) in str(error.value)


def test_without_a_network_a_local_folder_is_the_way_out(tmp_path: Path) -> None:
    for source, revision in (("Wan-AI/Wan2.2-TI2V-5B-Diffusers", "main"), ("nobody/nothing", "v1")):
        with pytest.raises(ValueError, match=f"{source}.*revision {revision}.*name a local folder") as error:
            load_transformer(WanConfig(source, revision))
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="no such folder"):
        load_transformer(WanConfig(str(tmp_path / "none")))


def test_a_hub_id_is_recorded_by_the_commit_it_stands_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the hub's own cache layout, written by hand: refs/main names the commit, snapshots/<commit> the files."""
    import huggingface_hub

    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "models--somebody--wan"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    layout.write_part(layout.WAN, "transformer", repo / "snapshots" / commit)
    original = huggingface_hub.snapshot_download
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **k: original(*a, cache_dir=tmp_path, **k))
    assert locate("somebody/wan").facts() == {"source": "somebody/wan", "commit": commit}
    assert load_transformer(WanConfig("somebody/wan", commit)).config.num_layers == 2
    facts = hub.Found("x", repo / "snapshots" / commit, "").facts()
    assert len(facts["transformer/config.json"]) == 64 and "commit" not in facts


def test_too_little_memory_is_said_before_anything_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout.write_part(layout.WAN, "transformer", tmp_path)
    monkeypatch.setattr("networks.memory.free_bytes", lambda device: 1000)
    with pytest.raises(MemoryError, match=r"wan .*transformer: needs .* GiB on cpu, 0\.0 GiB are free; use"):
        load_transformer(WanConfig(str(tmp_path)))
