// Fields of density and colour: the same samples as sampling/follow.py composites, in one loop. Each network stands in
// the code once: drivers put every call into place, and compile for as long as the code is then.

/** The largest weight of a sample whose colour is not computed: it gets that of the next sample that has one. */
const FAINT = 5e-4;

/** { code, weights, texels, multiplications: [per sample, more per coloured sample] } of a field. */
function radianceShader({ kind, scene, networks, grid, planes }) {
  const [weights, variables] = [new Weights(), new Variables()];
  const direction = variables.take(3 + 6 * scene.direction_frequencies);
  const waves = wavesOf(scene, kind);
  const position = variables.take(waves.width);
  const planeFeatures = planes ? planes.levels.map(() => variables.take(planes.channels)) : [];
  const { stages, density, features, head } = splitAtDensity(networks.trunk, networks.color_head, scene.feature_dim);
  const trunk = new NetworkWriter(weights, variables, { x: [position, ...planeFeatures] });
  trunk.addAll(stages, density.reads);
  trunk.add("density", density);
  const [raw] = trunk.values.get("density");
  const known = Object.fromEntries([...trunk.values].map(([name, pieces]) => [`trunk ${name}`, pieces]));
  const color = new NetworkWriter(weights, variables, { ...known, sight: [direction] }, [direction]);
  if (features) {
    color.add("features", features);
    color.values.set("x", [...color.values.get("features"), direction]);
  }
  color.addAll(head, ["trunk density"]);
  const [rgb] = color.values.get(`f${head.length}`);
  const [low, high] = scene.aabb;
  const cell = low.map((value, axis) => (high[axis] - value) / grid.resolution);
  const isCone = seesCones(kind);
  const halves = low.map((value, axis) => (high[axis] - value) / 2);
  const halfSide = Math.max(...halves);
  const scale = isCone ? [halfSide, halfSide, halfSide] : halves;
  const readCode = planes ? featuresCode(planeFeatures, "u", planes, scene.plane_combination, weights) : "";
  const code = `
${networkPrelude(new Set([...trunk.activations, ...color.activations]))}${RAY_CODE}
${isCone ? coneCode(scene, kind, halfSide) : ""}${planes ? PLANE_CODE : ""}${variables.declarations}
fn look_along(d: vec3f) {
${encodingCode(direction, "d", AXES, scene.direction_frequencies)}${color.rayCode}}
fn look_at_place(p: vec3f) {
  let u: vec3f = (p - ${vector(...low.map((value, axis) => (value + high[axis]) / 2))}) / ${vector(...scale)};
${encodingCode(position, "u", waves.directions, waves.octaves, isCone)}${readCode}${trunk.code}}
fn look_at_color() {
${color.code}}
fn render(pixel: vec2f) -> vec4f {
  look_through(pixel);
  let limits: vec2f = box_limits(${vector(...grid.bounds[0])}, ${vector(...grid.bounds[1])});
  let near: f32 = max(limits.x, ${literal(scene.near_plane)});
  let steps: i32 = i32(clamp(ceil((limits.y - near) / ${literal(scene.step_size)}), 0.0, 65536.0));
  if (steps <= 0) { return vec4f(0.0); }
  look_along(ahead);
  let start: vec3f = (origin - ${vector(...low)}) / ${vector(...cell)};
  let slope: vec3f = without_zeros(ahead / ${vector(...cell)});
  let wants_color: bool = is_mode(0.0) || is_mode(4.0);
  var color: vec3f = vec3f(0.0);
  var gradient: vec3f = vec3f(0.0);
  var depth: f32 = 0.0;
  var seen: f32 = 0.0;
  var waiting: f32 = 0.0;
  var work: vec2f = vec2f(0.0);
  var j: i32 = 0;
  var block: i32 = 0;
  var corner: i32 = -1;
  while (corner < 6) {
    var t: f32 = 0.0;
    if (corner < 0) {
      // rays look for their next sample apart, so that they evaluate the network together
      while (j < steps) {
        t = near + (f32(j) + 0.5) * ${literal(scene.step_size)};
        let cell: vec3f = clamp(floor(start + t * slope), vec3f(0.0), vec3f(${literal(grid.resolution - 1)}));
        let empty: f32 = f32(gap(vec3i(cell)));
        if (empty < 0.5) { break; }
        // nothing is occupied within so many cells along each axis: on to where the ray leaves that cube
        let ways: vec3f = (cell + vec3f(0.5) + (empty - 0.5) * sign(slope) - start) / slope;
        let way: f32 = min(min(ways.x, min(ways.y, ways.z)), limits.y + ${literal(scene.step_size)});
        j = max(j + 1, i32(ceil((way - near) / ${literal(scene.step_size)} - 0.502)));
      }
      // as in follow_rays: a ray ends between blocks of 32 steps, once it lets next to no light through
      let is_dark: bool = j / 32 > block && 1.0 - seen <= ${literal(scene.stop_transmittance)};
      block = j / 32;
      if (j >= steps || is_dark || 1.0 - seen < 1e-5) {
        if (!is_mode(2.0) || seen <= 1e-4) { break; }
        corner = 0;
      }
    }
    var way: f32 = t;
    if (corner >= 0) { way = depth / seen; }
${isCone ? "    if (corner >= 0) { look_at_point(); } else { way = look_at_stretch(t); }\n" : ""}    var place: vec3f = origin + way * ahead;
    if (corner >= 0) { place += NUDGE * corner_of(corner); }
    look_at_place(place);
    if (corner >= 0) {
      gradient -= corner_of(corner) * ${raw.variable(0)}.x;
      corner++;
      continue;
    }
    let opacity: f32 = 1.0 - exp(-${literal(scene.initial_density * scene.step_size)} * exp(min(${raw.variable(0)}.x, 80.0)));
    let share: f32 = (1.0 - seen) * opacity;
    work.x += 1.0;
    seen += share;
    depth += share * t;
    waiting += share;
    if (wants_color && waiting > ${literal(FAINT)}) {
      look_at_color();
      color += waiting * ${rgb.variable(0)}.xyz;
      waiting = 0.0;
      work.y += 1.0;
    }
    j++;
  }
  if (is_mode(1.0)) { return vec4f(select(1.0, as_depth(depth / max(seen, 1e-10)), seen > 1e-4), 0.0, 0.0, seen); }
  if (is_mode(2.0)) { return vec4f(seen * (0.5 + 0.5 * gradient / max(length(gradient), 1e-20)), seen); }
  if (is_mode(3.0)) { return vec4f(vec3f(seen), 1.0); }
  if (is_mode(4.0)) { return vec4f(work, 0.0, 1.0); }
  if (work.y > 0.0) { color += waiting * ${rgb.variable(0)}.xyz; }
  return vec4f(color, seen);
}
`.replace("NUDGE", literal(1e-4 * Math.max(...low.map((value, axis) => high[axis] - value))));
  return { code, weights, texels: planes && planes.texels, multiplications: [trunk.multiplications, color.multiplications] };
}

/**
 * { stages, density, features, head }: the networks with the last stage of the trunk in two: its first row is the density, which every sample needs. The other
 * rows are features that the colour head reads; where nothing stands between, the two matrices become one, and features
 * is null. Of those two, what is read of the trunk is called "trunk f1" and so on.
 */
function splitAtDensity(trunk, head, featureDim) {
  let [stages, last] = [trunk.slice(0, -1), trunk[trunk.length - 1]];
  if (last.joined || last.products.k > 1) {
    const name = `f${trunk.length}`;
    stages = trunk;
    last = plainStage([name], new Map([[name, Matrix.identity(1 + featureDim)]]), new Float32Array(1 + featureDim));
  }
  const density = rowsOf(last, 0, 1);
  const features = ofTrunk(rowsOf(last, 1, 1 + featureDim));
  const [first, ...others] = head;
  const isPlain = last.activation === "identity" && !last.norm;
  const isRead = first.joined || first.norm || first.products.k > 1 || others.some((stage) => stage.reads.includes("x"));
  const width = [...last.weights.values()].reduce((sum, matrix) => sum + matrix.columns, 0);
  if (!isPlain || isRead || first.rows * width > featureDim * (width + first.rows)) return { stages, density, features, head };
  const own = first.weights.get("x").slice(0, featureDim);
  const weights = new Map([...features.weights].map(([read, matrix]) => [read, own.times(matrix)]));
  weights.set("sight", first.weights.get("x").slice(featureDim, first.weights.get("x").columns));
  const carried = own.times(new Matrix(featureDim, 1, features.bias)).values;
  const joined = { ...first, reads: [...weights.keys()], weights, bias: first.bias.map((value, i) => value + carried[i]) };
  return { stages, density, features: null, head: [joined, ...others] };
}

function ofTrunk(stage) {
  const weights = new Map([...stage.weights].map(([read, matrix]) => [`trunk ${read}`, matrix]));
  return { ...stage, reads: [...weights.keys()], weights };
}

function plainStage(reads, weights, bias) {
  const rows = bias.length;
  return { reads, rows, width: rows, activation: "identity", weights, bias, norm: null, products: { m: rows, k: 1, blocks: [[0]] } };
}

/** Some rows of a stage without products. */
function rowsOf(stage, start, end) {
  const weights = new Map([...stage.weights].map(([read, matrix]) => [read, matrix.rowsFrom(start, end)]));
  const norm = stage.norm && { ...stage.norm, column: stage.norm.column.slice(start, end) };
  return { ...plainStage(stage.reads, weights, stage.bias.slice(start, end)), activation: stage.activation, norm };
}
