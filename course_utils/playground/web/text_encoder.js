// Words to numbers: a causal transformer over tokens, transformers' `CLIPTextModel`.
//
// Source: Radford et al. 2021, section 2.4. Names of configuration and weights are transformers'.
// The course builds it in lesson 05; its twin in Python is models/clip.py.

import { expectFields, expectWhole } from "./config.js";
import { COLUMNS } from "./kernel.js";
import { gelu, quickGelu, up } from "./machine.js";
import { loadWeights } from "./weights.js";

const FILE = "text_encoder/config.json";

export class TextModel {
  /** `tensors` are those of text_encoder/model.safetensors; older files prefix each name. */
  constructor(machine, config, tensors) {
    expectFields(config, { hidden_act: ["quick_gelu", "gelu"] }, FILE);
    expectWhole(config, ["vocab_size", "num_hidden_layers", "max_position_embeddings"], FILE);
    expectWhole(config, ["hidden_size", "intermediate_size"], FILE, 4);
    expectWhole({ "hidden_size / num_attention_heads":
      config.hidden_size / config.num_attention_heads }, ["hidden_size / num_attention_heads"],
    FILE, 4);
    this.machine = machine;
    this.config = config;
    const bare = Object.fromEntries(Object.entries(tensors)
      .map(([name, tensor]) => [name.replace(/^text_model\./, ""), tensor]));
    loadWeights(machine, bare, "text.", (name) => name !== "embeddings.position_ids");
  }

  /** L, the length of every row of ids. */
  get length() {
    return this.config.max_position_embeddings;
  }

  /**
   * Rows of ids, (B, L) -> text states, a map (D, B, 1, L) with L rounded up to whole panels. The
   * places that this adds come last, where nothing before them sees them.
   */
  forward(rows) {
    const m = this.machine, c = this.config, L = up(this.length, COLUMNS);
    return m.scope(() => {
      let x = this.embed(rows, L);
      for (let i = 0; i < c.num_hidden_layers; i++) x = this.layer(`text.encoder.layers.${i}`, x);
      return m.layerNorm("text.final_layer_norm", x, c.layer_norm_eps);
    });
  }

  /** A learned vector for each token plus one for each position: (D, B, 1, L). */
  embed(rows, L) {
    const m = this.machine, D = this.config.hidden_size, B = rows.length;
    const token = m.weight("text.embeddings.token_embedding.weight");
    const position = m.weight("text.embeddings.position_embedding.weight");
    const x = m.map(D, B, 1, L), f = m.floats;
    f.fill(0, x.at, x.at + D * B * L);
    rows.forEach((ids, b) => ids.forEach((id, l) => {
      for (let c = 0; c < D; c++) {
        f[x.at + (c * B + b) * L + l] = f[token.at + id * token.columns + c]
          + f[position.at + l * position.columns + c];
      }
    }));
    return x;
  }

  /** Attention, then two layers at each place; each is added to its input. */
  layer(name, x) {
    const m = this.machine, c = this.config;
    const bend = c.hidden_act === "gelu" ? gelu : quickGelu;
    const [q, k, v] = m.linears(["q", "k", "v"].map((part) => `${name}.self_attn.${part}_proj`),
      m.layerNorm(`${name}.layer_norm1`, x, c.layer_norm_eps));
    const seen = m.attend(q, k, v, c.num_attention_heads, { causal: true });
    x = m.add(m.linear(`${name}.self_attn.out_proj`, seen), x);
    const wide = m.linear(`${name}.mlp.fc1`, m.layerNorm(`${name}.layer_norm2`, x,
      c.layer_norm_eps));
    return m.add(m.linear(`${name}.mlp.fc2`, m.each(wide, bend)), x);
  }
}
