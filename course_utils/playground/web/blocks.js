// The residual block that the U-Net and the decoder share (He et al. 2016; Ho et al. 2020,
// appendix B). Its twin in Python is models/blocks.py.

/**
 * Two 3x3 convolutions beside a shortcut; the time embedding is added between them.
 *
 *   x      (C, B, H, W)
 *   time   the time embedding after SiLU, numbers of any length, or null (the decoder)
 *
 * Returns a map of as many channels as the weights have.
 */
export function resnet(m, name, x, { groups, eps }, time = null) {
  return m.scope(() => {
    let h = m.conv(`${name}.conv1`, m.groupNorm(`${name}.norm1`, x, groups, eps, true));
    if (time) addToChannels(m, h, vectorLinear(m, `${name}.time_emb_proj`, time));
    h = m.conv(`${name}.conv2`, m.groupNorm(`${name}.norm2`, h, groups, eps, true));
    const narrow = `${name}.conv_shortcut`;
    return m.add(h, m.weights[`${narrow}.weight`] ? m.linear(narrow, x) : x);
  });
}

/** A linear layer of one vector, in plain JavaScript: numbers (K,) -> (M,). */
export function vectorLinear(m, name, vector) {
  const w = m.weight(`${name}.weight`), bias = m.weight(`${name}.bias`), f = m.floats;
  return Float64Array.from({ length: w.shape[0] }, (_, row) => {
    let total = f[bias.at + row];
    for (let k = 0, at = w.at + row * w.columns; k < vector.length; k++) {
      total += f[at + k] * vector[k];
    }
    return total;
  });
}

function addToChannels(m, x, values) {
  const f = m.floats, N = x.B * x.H * x.W;
  for (let c = 0; c < x.C; c++) {
    for (let i = x.at + c * N, end = i + N; i < end; i++) f[i] += values[c];
  }
}
