// Feature planes of a field file, as textures have them.

const MOST_LEVELS = 8;
const MOST_SIDE = 1024;
const TEXELS_ACROSS = 2048;
const MOST_TEXELS = TEXELS_ACROSS ** 2;

/**
 * { levels, channels, texels }: four channels of one entry are four bytes of texels. A level has { side, groups }, and
 * each of its groups of four channels { first, scales, offsets }: its three planes lie from texel `first` on, row by row,
 * and what is read of plane i is offsets[i] + scales[i] * byte, four numbers each.
 */
function readPlanes({ plane_resolutions: sides, plane_channels: channels, plane_combination: combination }, arrays) {
  require(combination === "product" || combination === "sum", "how its planes are combined");
  require(Array.isArray(sides) && sides.length >= 1 && sides.length <= MOST_LEVELS && channels >= 1, "its planes");
  require(sides.every((side) => Number.isInteger(side) && side >= 2 && side <= MOST_SIDE), "the sizes of its planes");
  const groups = Math.ceil(channels / 4);
  const total = sides.reduce((sum, side) => sum + 3 * groups * side * side, 0);
  require(total <= MOST_TEXELS, "its planes are too large");
  const texels = new Int8Array(4 * TEXELS_ACROSS * Math.ceil(total / TEXELS_ACROSS));
  let first = 0;
  const levels = sides.map((side, level) => {
    const [entries, scale, offset] = ["", ".scale", ".offset"].map((part) => arrays.get(`planes.${level}${part}`));
    require(entries && entries.dtype === "I8" && `${entries.shape}` === `${[3 * channels, side, side]}`, `planes ${level}`);
    for (const row of [scale, offset]) require(row && row.dtype[0] === "F" && `${row.shape}` === `${3 * channels}`, `planes ${level}`);
    const found = Array.from({ length: groups }, (_, group) => {
      const lanes = [0, 1, 2, 3].filter((lane) => 4 * group + lane < channels);
      const start = first;
      for (let plane = 0; plane < 3; plane++, first += side * side) {
        for (const lane of lanes) {
          const from = (plane * channels + 4 * group + lane) * side * side;
          for (let i = 0; i < side * side; i++) texels[4 * (first + i) + lane] = entries.values[from + i];
        }
      }
      const ofPlanes = ({ values }) => [0, 1, 2].map((plane) => [0, 1, 2, 3].map((lane) => (lanes.includes(lane) ? values[plane * channels + 4 * group + lane] : 0)));
      return { first: start, scales: ofPlanes(scale), offsets: ofPlanes(offset) };
    });
    return { side, groups: found };
  });
  return { levels, channels, texels };
}
