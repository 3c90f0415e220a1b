// A field that is ready to be drawn.

/** The field of a file's bytes: { kind, scene, cameras, grid, bounds, shader, stored (weights in the file), size (bytes) }. */
async function openField(bytes) {
  const { kind, scene, arrays } = await readFieldFile(bytes);
  require(["radiance", "mipnerf", "planes", "distance"].includes(kind), "it is of a kind that is not known");
  const numbers = new Numbers(arrays);
  const isDistance = kind === "distance";
  const planes = kind === "planes" ? readPlanes(scene, arrays) : null;
  const position = wavesOf(scene, kind).width + (planes ? planes.channels * planes.levels.length : 0);
  const networks = {};
  let grid = null;
  if (!isDistance) {
    const sight = 3 + 6 * scene.direction_frequencies;
    networks.trunk = readNetwork("trunk", scene.networks.trunk, numbers, position, 1 + scene.feature_dim);
    networks.color_head = readNetwork("color_head", scene.networks.color_head, numbers, scene.feature_dim + sight, 3);
    grid = readGrid(scene, arrays);
  } else {
    networks.trunk = readNetwork("trunk", scene.networks.trunk, numbers, position, 1);
  }
  const shader = (isDistance ? distanceShader : radianceShader)({ kind, scene, networks, grid, planes });
  const isScale = (name) => /\.(scale|offset)$/.test(name) && arrays.has(name.replace(/\.\w+$/, "")); // PRP has own ones
  const isWeight = (name) => (name.split(".")[0] in networks || name.startsWith("planes.")) && !isScale(name);
  const stored = [...arrays].reduce((sum, [name, { values }]) => sum + (isWeight(name) ? values.length : 0), 0);
  const bounds = grid ? grid.bounds : scene.aabb;
  return { kind, scene, cameras: readCameras(scene, arrays), grid, bounds, shader, stored, size: bytes.length };
}

/** Cameras as { origin, right, up, back, width, height, fx, fy, cx, cy }; axes of rounded poses made perpendicular again. */
function readCameras(scene, arrays) {
  const poses = arrays.get("cameras");
  if (!poses) return [];
  require(poses.dtype[0] === "F" && poses.shape[1] === 12 && poses.shape[0] <= 64, "its cameras");
  return Array.from({ length: poses.shape[0] }, (_, i) => {
    const pose = poses.values.subarray(12 * i, 12 * i + 12);
    const column = (c) => [pose[c], pose[4 + c], pose[8 + c]];
    const right = normalised(column(0));
    const back = normalised(minus(column(2), scaled(right, dot(column(2), right))));
    const [width, height, fx, fy, cx, cy] = scene.lenses[scene.lenses.length > 1 ? i : 0];
    return { origin: column(3), right, up: cross(back, right), back, width, height, fx, fy, cx, cy };
  });
}

const plus = (a, b) => a.map((value, axis) => value + b[axis]);
const minus = (a, b) => a.map((value, axis) => value - b[axis]);
const scaled = (a, factor) => a.map((value) => value * factor);
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const length = (a) => Math.sqrt(dot(a, a));
const normalised = (a) => scaled(a, 1 / Math.max(length(a), 1e-20));

/** What rendering a camera needs, as the shader reads it. `look`: { mode, cut: { height, way } }. */
function fieldParams(field, camera, look) {
  const [near, far] = depthRange(field, camera);
  const cut = look.cut || { height: 0, way: 0 };
  return Float32Array.from([
    ...camera.origin, MODES.indexOf(look.mode),
    ...camera.right, camera.fx,
    ...camera.up, camera.fy,
    ...camera.back, camera.cx,
    camera.cy, near, far, 0,
    cut.height, cut.way, 0, 0,
  ]);
}

/** The depths that the colours of the mode depth span: those that the box around everything has. */
function depthRange(field, camera) {
  const middle = scaled(plus(field.bounds[0], field.bounds[1]), 0.5);
  const radius = length(minus(field.bounds[1], field.bounds[0])) / 2;
  const distance = length(minus(middle, camera.origin));
  return [Math.max(0, distance - radius), distance + radius];
}

function presentParams(look, target, canvas, backdrop) {
  return Float32Array.from([
    MODES.indexOf(look.mode), target.width, target.height, 0,
    canvas.width, canvas.height, 0, 0,
    ...backdrop[0], 1,
    ...backdrop[1], 1,
    ...new Array(8).fill(0),
  ]);
}

/** Renders a camera at its own size; four numbers a pixel, colours not yet over a background. */
async function renderCamera(drawing, field, camera, look) {
  const target = drawing.makeTarget(camera.width, camera.height);
  drawing.draw(target, fieldParams(field, camera, look), 0, camera.height);
  const values = await drawing.read(target);
  drawing.freeTarget(target);
  return values;
}

/** A drawing that gives the probe's colour, by the first of the ways that does, its canvas, and when its shaders were compiled. */
async function startDrawing(canvas, field, probe, ways) {
  const said = [];
  for (const way of ways) {
    const fresh = canvas.cloneNode(); // a canvas that has been asked for one kind of context gives no other
    canvas.replaceWith(fresh);
    canvas = fresh;
    try {
      const create = { webgpu: WebGPUDrawing.create, webgl2: WebGLDrawing.create }[way];
      const drawing = await create(canvas, field.shader, field.grid, ways.length === 1);
      const compiled = performance.now();
      await checkProbe(drawing, field, probe);
      return { drawing, canvas, compiled };
    } catch (error) {
      said.push(error.message);
    }
  }
  throw new Error(said.join("; "));
}

/** The colour of one pixel, against the one that torch has for it: some drivers compile a shader and draw it wrong. */
async function checkProbe(drawing, field, { camera, color }) {
  const [red, green, blue, seen] = await renderCamera(drawing, field, camera, { mode: "colour" });
  const found = [red, green, blue].map((value, i) => value + (1 - seen) * field.scene.background[i]);
  const isRight = found.every((value, i) => Math.abs(value - color[i]) < 0.02);
  if (!isRight) throw new Error(`${drawing.name} draws wrong colours: ${found.map((value) => value.toFixed(2))} for ${color.map((value) => value.toFixed(2))}`);
}
