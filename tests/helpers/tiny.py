"""The smallest settings at which the real classes run in a second or two."""

from networks.settings import LatentsConfig, TextConfig, TrainerConfig, WanConfig, WanVAEConfig
from valuefns.settings import DistributionalConfig, GemmaShape, ViVaConfig, WVMConfig

WAN = WanConfig("", num_layers=2, num_attention_heads=2, attention_head_dim=12, ffn_dim=48, text_dim=16, freq_dim=16)
TEXT = TextConfig("", max_length=8, d_model=16, num_layers=1)
PCA = LatentsConfig("patch_pca")


def training(steps: int, **changes: object) -> TrainerConfig:
    return TrainerConfig(
        **{"steps": steps, "batch_size": 16, "lr": 3e-3, "warmup": 5, "precision": "no", "log_every": 10} | changes
    )  # type: ignore[arg-type]


def vae(steps: int = 5) -> LatentsConfig:
    shape = WanVAEConfig("", base_dim=8, decoder_base_dim=8, num_res_blocks=1)
    return LatentsConfig("wan_vae", shape, training(steps, batch_size=4))


def viva(steps: int = 5, **changes: object) -> ViVaConfig:
    return ViVaConfig(
        **{"horizon": 5, "pure_noise_share": 0.5, "wan": WAN, "text": TEXT, "training": training(steps)} | changes
    )  # type: ignore[arg-type]


def wvm(steps: int = 5, **changes: object) -> WVMConfig:
    small = {"fps": 10.0, "pure_noise_share": 0.5, "value_dim": 16, "value_heads": 2, "value_ffn_dim": 32}
    return WVMConfig(**small | {"wan": WAN, "text": TEXT, "training": training(steps)} | changes)  # type: ignore[arg-type]


def distributional(steps: int = 5, **changes: object) -> DistributionalConfig:
    shape = GemmaShape(
        image_size=32, patch_size=8, vision_width=24, vision_layers=1, vision_heads=2, vision_mlp=48, image_tokens=4,
        width=24, layers=2, mlp=48, heads=2, kv_heads=1, head_dim=12, vocabulary=384, init_std=0.1,
    )  # fmt: skip
    return DistributionalConfig(**{"tokenizer": "", "encoder": shape, "training": training(steps)} | changes)  # type: ignore[arg-type]
