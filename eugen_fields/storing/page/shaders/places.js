// What networks read of a place: waves, of cones averaged over their width, and feature planes.

/** What a field's kind has: the directions of its waves, and the numbers of an encoded position but for planes. */
function wavesOf({ basis, position_frequencies: octaves }, kind) {
  const directions = kind === "distance" || basis === "icosahedron" ? icosahedronDirections() : AXES;
  return { directions, octaves, width: 3 + 2 * directions.length * octaves };
}

const seesCones = (kind) => kind === "mipnerf" || kind === "planes";

/** Of products and sums of planes; encodings/planes.py says why. */
const PLANE_SCALES = { product: 100, sum: 10 };

/**
 * Rays as cones: `radius` is theirs at distance 1, `spread` the variances of a stretch of one along it and across, in
 * the units of the encoding; look_at_stretch sets it and returns where the middle of the stretch is.
 */
function coneCode(scene, kind, halfSide) {
  const half = 0.5 * scene.step_size;
  const point = literal(scene.footprint ** 2);
  // encodings/gaussians.py has the moments; planes know widths alone
  return `
var<private> spread: vec2f;
fn look_at_point() { spread = vec2f(${point}, ${point}); }
fn look_at_stretch(t: f32) -> f32 {
  let square: f32 = ${literal(half * half)};
  let ratio: f32 = square / (3.0 * t * t + square);
  let along: f32 = square / 3.0 - 0.26666667 * ratio * ratio * (12.0 * t * t - square);
  let across: f32 = radius * radius * (0.25 * t * t + (0.41666667 - 0.26666667 * ratio) * square);
  spread = vec2f(${kind === "planes" ? "across" : "along"}, across) / ${literal(halfSide * halfSide)};
  return t + 2.0 * t * ratio;
}
`;
}

/** Reads planes bilinearly, by hand: hardware knows places between texels to eight bits, and filters no integers. */
const PLANE_CODE = `
fn plane(first: i32, side: f32, at: vec2f) -> vec4f {
  let place: vec2f = clamp((at + vec2f(1.0)) * (0.5 * (side - 1.0)), vec2f(0.0), vec2f(side - 1.0));
  let low: vec2f = min(floor(place), vec2f(side - 2.0));
  let part: vec2f = place - low;
  let here: i32 = first + i32(low.y * side + low.x);
  let below: i32 = here + i32(side);
  return mix(mix(texel(here), texel(here + 1), part.x), mix(texel(below), texel(below + 1), part.x), part.y);
}
`;

/** Code that sets pieces, one for each level, to the features of u: one loop over all groups of four channels. */
function featuresCode(pieces, u, { levels }, combination, weights) {
  const start = weights.length;
  let count = 0;
  for (const { side, groups } of levels) {
    const damping = -0.125 * (Math.PI * (side - 1)) ** 2; // of a wave with half a period from entry to entry
    for (const { first, scales, offsets } of groups) {
      weights.push(side, first, damping, 0);
      for (const plane of [0, 1, 2]) {
        weights.push(...scales[plane]);
        weights.push(...offsets[plane]);
      }
      count += 1;
    }
  }
  const chain = pieces.flatMap((piece) => Array.from({ length: piece.count }, (_, k) => piece.variable(k)));
  const shift = chain.map((name, k) => `${name} = ${k + 1 < chain.length ? chain[k + 1] : "features"};`).join(" ");
  const read = (plane, at) =>
    `weight(at + ${2 + 2 * plane}) + weight(at + ${1 + 2 * plane}) * plane(first + ${plane} * size, about.x, ${at})`;
  const [first, second, third] = [`${u}.xy`, `${u}.yz`, `${u}.xz`].map((at, plane) => read(plane, at));
  const sign = combination === "product" ? "*" : "+";
  return `  at = ${start};
  for (var group: i32 = 0; group < ${count} + zero; group++) {
    let about: vec4f = weight(at);
    let first: i32 = i32(about.y);
    let size: i32 = i32(about.x * about.x);
    var features: vec4f = (${first}) ${sign} (${second}) ${sign} (${third});
    features *= ${literal(PLANE_SCALES[combination])} * exp(about.z * spread.y);
    ${shift}
    at += 7;
  }
`;
}
