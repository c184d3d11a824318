// Holds a config.json against what these networks build, so that another model is refused with a
// sentence and not drawn wrongly.

/** Throws an Error where a field's value is none of those that are built. */
export function expectFields(config, expected, file) {
  for (const [name, values] of Object.entries(expected)) {
    if (name in config && !values.includes(config[name])) {
      throw new Error(`${file}: ${name} is ${JSON.stringify(config[name])}, which this page does `
        + `not build; expected ${values.map((value) => JSON.stringify(value)).join(" or ")}.`);
    }
  }
}

/** Throws an Error where a field is no whole number above 0 that `step` divides. */
export function expectWhole(config, names, file, step = 1) {
  for (const name of names) {
    for (const value of [config[name]].flat()) {
      if (!Number.isInteger(value) || value < 1 || value % step) {
        throw new Error(`${file}: ${name} is ${JSON.stringify(config[name])}; expected whole `
          + `numbers above 0${step > 1 ? `, multiples of ${step}` : ""}.`);
      }
    }
  }
}
