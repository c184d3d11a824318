// The denoiser: noisy latents, the time and words go in, and what is wrong with the picture comes
// out. diffusers' `UNet2DConditionModel`, for the blocks that Stable Diffusion 1.x uses.
//
// Source: Ronneberger et al. 2015; Ho et al. 2020, appendix B; Rombach et al. 2022, section 3.3.
// The course builds it in lesson 03; its twin in Python is models/unet.py.

import { resnet, vectorLinear } from "./blocks.js";
import { expectFields, expectWhole } from "./config.js";
import { COLUMNS } from "./kernel.js";
import { gelu, places, silu } from "./machine.js";
import { loadWeights } from "./weights.js";

const FILE = "unet/config.json";
// Fields that the course's own configuration does not have, with the values that it stands for.
const FIXED = {
  act_fn: ["silu"], attention_type: ["default"], conv_in_kernel: [3], conv_out_kernel: [3],
  downsample_padding: [1], mid_block_scale_factor: [1], mid_block_type: ["UNetMidBlock2DCrossAttn"],
  resnet_out_scale_factor: [1], resnet_time_scale_shift: ["default"],
  time_embedding_type: ["positional"], transformer_layers_per_block: [1],
  class_embed_type: [null], addition_embed_type: [null], encoder_hid_dim: [null],
  use_linear_projection: [false], only_cross_attention: [false], dual_cross_attention: [false],
};

/** What can be switched off, and nothing is: numbers of skips, names of attention layers. */
export const NOTHING_OFF = { skips: [], attentions: [] };

export class UNet {
  constructor(machine, config, tensors) {
    expectFields(config, FIXED, FILE);
    expectWhole(config, ["sample_size", "in_channels", "out_channels", "layers_per_block",
      "norm_num_groups", "attention_head_dim"], FILE);
    expectWhole(config, ["block_out_channels", "cross_attention_dim"], FILE, 4);
    const levels = config.block_out_channels.length;
    for (const [field, known] of [["down_block_types", ["DownBlock2D", "CrossAttnDownBlock2D"]],
      ["up_block_types", ["UpBlock2D", "CrossAttnUpBlock2D"]]]) {
      for (const kind of config[field]) expectFields({ [field]: kind }, { [field]: known }, FILE);
    }
    const smallest = config.sample_size / 2 ** (levels - 1);
    expectWhole({ "places of the smallest map": smallest ** 2 }, ["places of the smallest map"],
      FILE, COLUMNS);
    this.heads = [config.attention_head_dim].flat();
    if (this.heads.length === 1) this.heads = Array(levels).fill(this.heads[0]);
    expectWhole({ "channels of a head": config.block_out_channels.map((C, i) => C / this.heads[i]) },
      ["channels of a head"], FILE, 4);
    this.machine = machine;
    this.config = config;
    this.norm = { groups: config.norm_num_groups, eps: config.norm_eps };
    loadWeights(machine, tensors, "unet.");
  }

  /** Names of the attention layers, and for each skip its channels and side, in their order. */
  parts() {
    const { block_out_channels: widths, layers_per_block: layers, sample_size } = this.config;
    const skips = [{ C: widths[0], side: sample_size }];
    widths.forEach((C, i) => {
      const side = sample_size / 2 ** i;
      for (let j = 0; j < layers; j++) skips.push({ C, side });
      if (i + 1 < widths.length) skips.push({ C, side: side / 2 });
    });
    const attentions = Object.keys(this.machine.weights)
      .map((name) => name.match(/^unet\.(.*\.attn[12])\.to_q\.weight$/)?.[1]).filter(Boolean);
    return { skips, attentions };
  }

  /**
   * Keys and values of the words in every cross-attention layer. They are the same at every step,
   * so they are computed once a drawing and stay until the caller gives the memory back.
   *
   * states: a map (D, B, 1, L). Returns layer -> [k, v].
   */
  remember(states) {
    const found = {};
    for (const name of this.parts().attentions) {
      if (name.endsWith(".attn2")) {
        found[name] = this.machine.linears([`unet.${name}.to_k`, `unet.${name}.to_v`], states);
      }
    }
    return found;
  }

  /**
   * Predict from noisy latents.
   *
   *   x       numbers (B, C, H, W)
   *   t       the timestep
   *   words   {memory, length}: what `remember` gave for B rows of states, and how many tokens count
   *   off     what is switched off, see NOTHING_OFF
   *   maps    if given, filled with side -> (B, P, L): where each place looked among the words,
   *           the mean over heads and layers of that side
   *
   * Returns numbers (B, C, H, W).
   */
  forward(x, t, words, { off = NOTHING_OFF, maps = null } = {}) {
    const m = this.machine, c = this.config, before = m.top;
    const B = x.length / (c.in_channels * c.sample_size ** 2);
    const widths = c.block_out_channels, layers = c.layers_per_block;
    const state = { time: this.embedTime(t), words, off, maps, layersOfSide: {} };

    let h = m.conv("unet.conv_in", m.put(x, c.in_channels, B, c.sample_size, c.sample_size));
    const skips = [h];
    widths.forEach((_, level) => {
      const name = `down_blocks.${level}`;
      for (let i = 0; i < layers; i++) skips.push(h = this.pair(name, i, h, level, state));
      if (level + 1 < widths.length) {
        skips.push(h = m.conv(`unet.${name}.downsamplers.0.conv`, h, 2));
      }
    });
    off.skips.forEach((number) => m.each(skips[number] = this.copy(skips[number]), () => 0));

    const bottom = widths.length - 1;
    h = this.pair("mid_block", 0, h, bottom, state);
    h = resnet(m, "unet.mid_block.resnets.1", h, this.norm, state.time);
    widths.forEach((_, i) => {
      const name = `up_blocks.${i}`, level = bottom - i;
      for (let j = 0; j <= layers; j++) {
        h = this.pair(name, j, m.concatenate(h, skips.pop()), level, state);
      }
      if (level > 0) h = m.conv(`unet.${name}.upsamplers.0.conv`, m.enlarge(h));
    });
    h = m.groupNorm("unet.conv_norm_out", h, c.norm_num_groups, c.norm_eps, true);
    const output = m.get(m.conv("unet.conv_out", h));
    m.top = before;
    for (const [side, count] of Object.entries(state.layersOfSide)) {
      for (let i = 0; i < maps[side].length; i++) maps[side][i] /= count;
    }
    return output;
  }

  /** Waves of many lengths (Vaswani et al. 2017, section 3.5) through two layers, and SiLU. */
  embedTime(t) {
    const c = this.config, half = c.block_out_channels[0] / 2;
    const angles = Array.from({ length: half }, (_, i) =>
      t * Math.exp(-Math.log(10000) * i / (half - (c.freq_shift ?? 0))));
    const [sin, cos] = [angles.map(Math.sin), angles.map(Math.cos)];
    const waves = c.flip_sin_to_cos ?? true ? [...cos, ...sin] : [...sin, ...cos];
    const hidden = vectorLinear(this.machine, "unet.time_embedding.linear_1", waves).map(silu);
    return vectorLinear(this.machine, "unet.time_embedding.linear_2", hidden).map(silu);
  }

  /** A residual block, and attention after it where the block has one. */
  pair(block, i, x, level, state) {
    const h = resnet(this.machine, `unet.${block}.resnets.${i}`, x, this.norm, state.time);
    const name = `${block}.attentions.${i}`;
    const attends = this.machine.weights[`unet.${name}.norm.weight`];
    return attends ? this.transformer(name, h, this.heads[level], state) : h;
  }

  /** Places look at places, places look at words, then each thinks alone (Transformer2D). */
  transformer(name, x, heads, { words, off, maps, layersOfSide }) {
    const m = this.machine, block = `unet.${name}.transformer_blocks.0`;
    const layer = (part) => `${name}.transformer_blocks.0.${part}`;
    return m.scope(() => {
      let h = m.linear(`unet.${name}.proj_in`,
        m.groupNorm(`unet.${name}.norm`, x, this.config.norm_num_groups, 1e-6));
      if (!off.attentions.includes(layer("attn1"))) {
        const [q, k, v] = m.linears(["to_q", "to_k", "to_v"].map((p) => `${block}.attn1.${p}`),
          m.layerNorm(`${block}.norm1`, h));
        h = m.add(m.linear(`${block}.attn1.to_out.0`, m.attend(q, k, v, heads)), h);
      }
      if (!off.attentions.includes(layer("attn2"))) {
        const q = m.linear(`${block}.attn2.to_q`, m.layerNorm(`${block}.norm2`, h));
        const [k, v] = words.memory[layer("attn2")];
        const weights = maps && this.mapOf(maps, layersOfSide, x.H, places(q) * k.W);
        const seen = m.attend(q, k, v, heads, { seen: words.length, weights });
        h = m.add(m.linear(`${block}.attn2.to_out.0`, seen), h);
      }
      h = m.add(this.feedForward(`${block}.ff.net`, m.layerNorm(`${block}.norm3`, h)), h);
      return m.add(m.linear(`unet.${name}.proj_out`, h), x);
    });
  }

  /** Four times wider with a gate, and back: value * gelu(gate) (Shazeer 2020, GEGLU). */
  feedForward(name, x) {
    const m = this.machine, wide = m.linear(`${name}.0.proj`, x), f = m.floats;
    const value = { ...wide, C: wide.C / 2 }, n = value.C * places(wide);
    for (let i = value.at; i < value.at + n; i++) f[i] *= gelu(f[i + n]);
    return m.linear(`${name}.2`, value);
  }

  mapOf(maps, layersOfSide, side, length) {
    maps[side] ??= new Float32Array(length);
    layersOfSide[side] = (layersOfSide[side] ?? 0) + 1;
    return maps[side];
  }

  copy(x) {
    const m = this.machine, to = m.like(x);
    m.floats.copyWithin(to.at, x.at, x.at + x.C * places(x));
    return to;
  }
}
