"""Writes wan_vae_patch.{json,safetensors}: the settings of AutoencoderKLWan that no parity fixture has.

Pixel unshuffle (patch_size), encoder attention (attn_scales), a decoder of its own width. Made with torch 2.11 and
diffusers 0.42.1: python wan_vae_patch.py. That release passes the encoder's attention a cache it does not take, so the
script drops the argument.
"""
import json
import pathlib

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanAttentionBlock
from safetensors.torch import save_file

CONFIG = {
    "base_dim": 2, "decoder_base_dim": 4, "z_dim": 3, "dim_mult": [1, 2, 4], "num_res_blocks": 1,
    "attn_scales": [0.5], "temperal_downsample": [True, True], "in_channels": 12, "out_channels": 12,
    "patch_size": 2, "latents_mean": [0.0, 0.5, -0.5], "latents_std": [1.0, 2.0, 3.0],
}

attend = WanAttentionBlock.forward
WanAttentionBlock.forward = lambda self, x, **cache: attend(self, x)
torch.manual_seed(7)
vae = AutoencoderKLWan(**CONFIG).eval()
with torch.no_grad():
    for name, value in vae.named_parameters():
        value.copy_(1 + 0.2 * torch.randn_like(value) if name.endswith("gamma") else 0.25 * torch.randn_like(value))
    frames = 2 * torch.rand(2, 3, 9, 16, 24) - 1
    latent = vae.encode(frames).latent_dist
    tensors = {"frames": frames, "mean": latent.mean, "logvar": latent.logvar, "decoded": vae.decode(latent.mean).sample}
tensors.update({"weight." + name: value.detach() for name, value in vae.named_parameters()})
here = pathlib.Path(__file__).parent
save_file({name: value.contiguous() for name, value in tensors.items()}, here / "wan_vae_patch.safetensors")
(here / "wan_vae_patch.json").write_text(json.dumps(CONFIG, indent=1) + "\n")
print({name: (tuple(t.shape), t.abs().mean().item()) for name, t in tensors.items() if "." not in name})
