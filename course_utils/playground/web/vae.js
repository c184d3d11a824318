// Latents to pixels: the decoder half of diffusers' `AutoencoderKL`.
//
// Source: Rombach et al. 2022, section 3.1. The course builds it in lesson 06; its twin in Python
// is models/vae.py. The encoder is not needed to draw, so its weights are left aside.

import { resnet } from "./blocks.js";
import { expectFields, expectWhole } from "./config.js";
import { loadWeights } from "./weights.js";

const FILE = "vae/config.json";
const EPS = 1e-6;

export class Decoder {
  constructor(machine, config, tensors) {
    expectFields(config, { act_fn: ["silu"], use_post_quant_conv: [true],
      mid_block_add_attention: [true] }, FILE);
    for (const kind of config.up_block_types) {
      expectFields({ up_block_types: kind }, { up_block_types: ["UpDecoderBlock2D"] }, FILE);
    }
    expectWhole(config, ["out_channels", "latent_channels", "layers_per_block",
      "norm_num_groups"], FILE);
    expectWhole(config, ["block_out_channels"], FILE, 4);
    if (!(config.scaling_factor > 0)) {
      throw new Error(`${FILE}: scaling_factor is ${config.scaling_factor}; expected a number `
        + "above 0.");
    }
    this.machine = machine;
    this.config = config;
    this.norm = { groups: config.norm_num_groups, eps: EPS };
    loadWeights(machine, tensors, "vae.", (name) => !/^(encoder|quant_conv)\./.test(name));
  }

  /** Latents (B, 4, h, w) -> pixels (B, 3, 8h, 8w), clipped to [-1, 1], as numbers. */
  forward(latents, B, side) {
    const m = this.machine, c = this.config, before = m.top;
    const widths = [...c.block_out_channels].reverse();
    const z = latents.map((number) => number / c.scaling_factor);
    let h = m.linear("vae.post_quant_conv", m.put(z, c.latent_channels, B, side, side));
    h = this.middle(m.conv("vae.decoder.conv_in", h));
    widths.forEach((_, i) => {
      const name = `vae.decoder.up_blocks.${i}`;
      for (let j = 0; j <= c.layers_per_block; j++) {
        h = resnet(m, `${name}.resnets.${j}`, h, this.norm);
      }
      if (i + 1 < widths.length) h = m.conv(`${name}.upsamplers.0.conv`, m.enlarge(h));
    });
    h = m.groupNorm("vae.decoder.conv_norm_out", h, c.norm_num_groups, EPS, true);
    const pixels = m.get(m.conv("vae.decoder.conv_out", h));
    m.top = before;
    return pixels.map((number) => Math.max(-1, Math.min(1, number)));
  }

  /** Residual block, attention over all places with one head, residual block. */
  middle(x) {
    const m = this.machine, name = "vae.decoder.mid_block";
    let h = resnet(m, `${name}.resnets.0`, x, this.norm);
    const attention = `${name}.attentions.0`;
    const [q, k, v] = m.linears(["to_q", "to_k", "to_v"].map((part) => `${attention}.${part}`),
      m.groupNorm(`${attention}.group_norm`, h, this.config.norm_num_groups, EPS));
    h = m.add(m.linear(`${attention}.to_out.0`, m.attend(q, k, v, 1)), h);
    return resnet(m, `${name}.resnets.1`, h, this.norm);
  }
}
