// Networks as shader code. Loops are never unrolled and arrays never indexed by a variable: an unrolled network takes
// drivers a minute to compile, and indexed arrays end in slow memory. A value of width 32 is eight variables of four
// numbers. A loop computes its next four numbers from all that it reads, and hands the eight on by one place.

/** All numbers that shaders read, four at a time. */
class Weights {
  constructor() {
    this.numbers = [];
  }

  get length() {
    return this.numbers.length / 4;
  }

  push(a, b, c, d) {
    this.numbers.push(a, b, c, d);
  }
}

/** A run of variables `${name}_0`, `${name}_1`, .. of four numbers each that hold `width` numbers. */
class Piece {
  constructor(name, width) {
    this.name = name;
    this.width = width;
    this.count = Math.ceil(width / 4);
  }

  variable(k) {
    return `${this.name}_${k}`;
  }

  get declaration() {
    return Array.from({ length: this.count }, (_, k) => `var<private> ${this.variable(k)}: vec4f;\n`).join("");
  }

  /** Makes room for four numbers at the end. */
  shifted(last) {
    const lines = Array.from({ length: this.count - 1 }, (_, k) => `${this.variable(k)} = ${this.variable(k + 1)};`);
    return [...lines, `${this.variable(this.count - 1)} = ${last};`].join(" ");
  }

  /** The sum of squares as four numbers to be added up; what is behind the width does not count. */
  squares() {
    return Array.from({ length: this.count }, (_, k) => {
      const mask = [0, 1, 2, 3].map((lane) => (4 * k + lane < this.width ? 1 : 0));
      const value = this.variable(k);
      return `squares += ${value} * ${value}${mask.includes(0) ? ` * ${vector(...mask)}` : ""};`;
    }).join(" ");
  }
}

/** Variables of values, used again once nothing reads a value any more: drivers have room for so many and no more. */
class Variables {
  constructor() {
    this.made = [];
    this.free = [];
  }

  take(width) {
    const count = Math.ceil(width / 4);
    const place = this.free.findIndex((piece) => piece.count === count);
    if (place >= 0) return new Piece(this.free.splice(place, 1)[0].name, width);
    const piece = new Piece(`v${this.made.length}`, width);
    this.made.push(piece);
    return piece;
  }

  get declarations() {
    return this.made.map((piece) => piece.declaration).join("");
  }
}

/** Writes the stages of one network. `values` are lists of pieces by name; pieces of `perRay` are known for a whole ray. */
class NetworkWriter {
  constructor(weights, variables, values, perRay = []) {
    Object.assign(this, { weights, variables, values: new Map(Object.entries(values)), perRay: new Set(perRay) });
    this.rayCode = "";
    this.code = "";
    this.multiplications = 0;
    this.isRun = false;
    this.activations = new Set();
  }

  /** Appends all stages of a network, as values f1, f2 and so on; those that `kept` names can be read afterwards. */
  addAll(stages, kept) {
    const last = `f${stages.length}`;
    for (let index = 0; index < stages.length; ) {
      const pieces = this.values.get(stages[index].reads[0]);
      const isPlain = pieces.length === 1 && !this.perRay.has(pieces[0]);
      const run = isPlain ? runFrom(stages, index, kept) : [stages[index]];
      if (run.length > 1) this.addRun(`f${index + run.length}`, run);
      else this.add(`f${index + 1}`, run[0]);
      index += run.length;
      this.forget(new Set([...stages.slice(index).flatMap((later) => later.reads), ...kept, last, `f${index}`]));
    }
  }

  /** Frees the variables of all values but some. */
  forget(needed) {
    const used = new Set([...needed].flatMap((name) => this.values.get(name) || []));
    for (const [name, pieces] of this.values) {
      if (needed.has(name)) continue;
      this.variables.free.push(...pieces.filter((piece) => !used.has(piece) && !this.perRay.has(piece)));
      pieces.forEach((piece) => used.add(piece));
      this.values.delete(name);
    }
  }

  /** Appends stages that differ by their numbers alone, each of which reads the one before: one code in a loop. */
  addRun(name, stages) {
    const [input] = this.values.get(stages[0].reads[0]);
    const out = this.variables.take(input.width);
    this.activations.add(stages[0].activation);
    this.code += `  // ${name}: ${stages.length} stages from ${input.name} to ${out.name}\n  at = ${this.weights.length};\n`;
    this.isRun = true;
    let text = "";
    for (const stage of stages) {
      this.values.set(stage.reads[0], [input]);
      const { perSample } = this.columnsOf(stage);
      text = (stage.norm ? this.normCode(stage) : "") + this.loopCode(stage, perSample, null, [out]);
      this.multiplications += stage.rows * input.width + (stage.norm && stage.norm.weight ? stage.norm.weight.values.length : 0);
    }
    this.isRun = false;
    const back = Array.from({ length: out.count }, (_, k) => `${input.variable(k)} = ${out.variable(k)};`).join(" ");
    this.code += `  for (var layer: i32 = 0; layer < ${stages.length} + zero; layer++) {\n${text}  ${back}\n  }\n`;
    this.values.set(name, [out]);
  }

  /** Appends a stage, whose value is called `name` from then on. */
  add(name, stage) {
    if (stage.joined) {
      this.values.set(name, stage.reads.flatMap((read) => this.values.get(read)));
      return;
    }
    const { all, perSample, perRay } = this.columnsOf(stage);
    this.activations.add(stage.activation);
    const own = stage.rows * perSample.reduce((sum, block) => sum + block.piece.width, 0);
    this.multiplications += own + (stage.norm && stage.norm.weight ? stage.norm.weight.values.length : 0);
    const out = stage.products.blocks.map(() => this.variables.take(stage.products.m));
    this.code += `  // ${name} of ${all.map((block) => block.piece.name).join(", ")}: ${out.map((piece) => piece.name).join(", ")}\n`;
    if (stage.norm) this.code += this.normCode(stage);
    const bases = perRay.length ? this.baseCode(stage, perRay) : null;
    this.code += this.loopCode(stage, perSample, bases, out);
    this.values.set(name, out);
  }

  /** The pieces that a stage reads, each with its columns of the matrix. */
  columnsOf(stage) {
    const all = [];
    for (const read of stage.reads) {
      let start = 0;
      for (const piece of this.values.get(read)) {
        all.push({ piece, matrix: stage.weights.get(read).slice(start, start + piece.width) });
        start += piece.width;
      }
    }
    const isPerRay = ({ piece }) => this.perRay.has(piece);
    return { all, perSample: all.filter((block) => !isPerRay(block)), perRay: all.filter(isPerRay) };
  }

  /** Lines that add matrix.piece to z, and their numbers, for four rows: column by column, or along a single row. */
  products(z, blocks, row, end, offset) {
    let lines = "";
    for (const { piece, matrix } of blocks) {
      for (let k = 0; k < piece.count; k++) {
        const columns = [4 * k, 4 * k + 1, 4 * k + 2, 4 * k + 3];
        if (matrix.rows === 1) {
          this.weights.push(...columns.map((column) => matrix.at(0, column)));
          lines += `    ${z}.x += dot(weight(at + ${offset}), ${piece.variable(k)});\n`;
          offset += 1;
        } else {
          for (const column of columns) this.pushRows((r) => matrix.at(r, column), row, end);
          lines += `    ${z} = madd(${z}, at + ${offset}, ${piece.variable(k)});\n`;
          offset += 4;
        }
      }
    }
    return { lines, offset };
  }

  pushRows(valueAt, row, end) {
    this.weights.push(...[0, 1, 2, 3].map((lane) => (row + lane < end ? valueAt(row + lane) : 0)));
  }

  /** A loop over groups of four rows: its body is the same text for all, and writes their numbers one after the other. */
  loop(groups, body) {
    const start = this.weights.length;
    let text = "";
    for (let group = 0; group < groups; group++) text = body(group);
    const stride = (this.weights.length - start) / groups;
    const head = this.isRun ? "" : `  at = ${start};\n`;
    if (groups === 1) return `${head}  {\n${text}    at += ${stride};\n  }\n`;
    return `${head}  for (var group: i32 = 0; group < ${groups} + zero; group++) {\n${text}    at += ${stride};\n  }\n`;
  }

  loopCode(stage, blocks, bases, out) {
    const { m, blocks: orders } = stage.products;
    return this.loop(Math.ceil(m / 4), (group) => {
      let text = "";
      let offset = 0;
      for (let block = 0; block < stage.rows / m; block++) {
        const z = `z${block}`;
        const [row, end] = [block * m + 4 * group, (block + 1) * m];
        if (bases) {
          const base = bases[block];
          text += `    let ${z}b: vec4f = ${base.variable(0)}; ${base.shifted(`${z}b`)}\n    var ${z}: vec4f = ${z}b;\n`;
        } else {
          this.pushRows((r) => stage.bias[r], row, end);
          text += `    var ${z}: vec4f = weight(at + ${offset++});\n`;
        }
        if (stage.norm) {
          this.pushRows((r) => stage.norm.column[r], row, end);
          const term = `norm * weight(at + ${offset++})`;
          text += stage.norm.squared ? `    let ${z}n: vec4f = ${term}; ${z} -= ${z}n * ${z}n;\n` : `    ${z} += ${term};\n`;
        }
        const written = this.products(z, blocks, row, end, offset);
        text += written.lines;
        offset = written.offset;
      }
      orders.forEach((factors, i) => {
        const product = factors.map((block) => `z${block}`).join(" * ");
        text += `    ${out[i].shifted(`${functionName(stage.activation)}(${product})`)}\n`;
      });
      return text;
    });
  }

  /** What a stage reads of a ray, once for the ray: bias and products, handed round in loopCode. */
  baseCode(stage, blocks) {
    const m = stage.products.m;
    return Array.from({ length: stage.rows / m }, (_, block) => {
      const base = this.variables.take(m);
      this.rayCode += this.loop(base.count, (group) => {
        const [row, end] = [block * m + 4 * group, (block + 1) * m];
        this.pushRows((r) => stage.bias[r], row, end);
        return `    var z: vec4f = weight(at);\n${this.products("z", blocks, row, end, 1).lines}    ${base.shifted("z")}\n`;
      });
      return base;
    });
  }

  normCode(stage) {
    const { weight, bias } = stage.norm;
    const pieces = stage.reads.map((read) => this.values.get(read));
    const plain = weight ? pieces.slice(1).flat() : pieces.flat();
    let text = `  squares = vec4f(1e-12, 0.0, 0.0, 0.0); ${plain.map((piece) => piece.squares()).join(" ")}\n`;
    if (weight) {
      let start = 0;
      const blocks = pieces[0].map((piece) => {
        start += piece.width;
        return { piece, matrix: weight.slice(start - piece.width, start) };
      });
      text += this.loop(Math.ceil(weight.rows / 4), (group) => {
        this.pushRows((r) => bias[r], 4 * group, weight.rows);
        const lines = this.products("h", blocks, 4 * group, weight.rows, 1).lines;
        return `    var h: vec4f = weight(at);\n${lines}    squares += h * h;\n`;
      });
    }
    return `${text}  norm = sqrt(dot(squares, vec4f(1.0)));\n`;
  }
}

/** The stages from an index on that addRun can do together: as many as are alike and whose values nothing else reads. */
function runFrom(stages, index, kept) {
  const shape = ({ reads, rows, activation, norm, products, weights }) =>
    reads.length === 1 && products.k === 1 && weights.get(reads[0]).columns === rows
      ? [rows, activation, norm && norm.squared, norm && norm.weight && norm.weight.rows].join()
      : null;
  const run = [stages[index]];
  const isReadOnce = (name) => !kept.includes(name) && stages.flatMap((stage) => stage.reads).filter((read) => read === name).length === 1;
  if (stages[index].joined || !isReadOnce(stages[index].reads[0])) return run;
  for (let next = index + 1; next < stages.length; next++) {
    const stage = stages[next];
    const isAlike = !stage.joined && shape(stage) !== null && shape(stage) === shape(stages[index]);
    if (!isAlike || stage.reads[0] !== `f${next}` || !isReadOnce(`f${next}`)) break;
    run.push(stage);
  }
  return run;
}

const ACTIVATION_CODE = {
  identity: "z",
  relu: "max(z, vec4f(0.0))",
  gelu: "0.5 * z * (vec4f(1.0) + erf(0.7071067811865476 * z))",
  silu: "z / (vec4f(1.0) + exp(-z))",
  softplus: "max(z, vec4f(0.0)) + log(vec4f(1.0) + exp(-abs(z)))",
  softplus100: "0.01 * (max(100.0 * z, vec4f(0.0)) + log(vec4f(1.0) + exp(-abs(100.0 * max(z, vec4f(-0.3))))))",
  sine: "sin(6.283185307179586 * turns(0.15915494309189535 * z))",
  tanh: "tanh(clamp(z, vec4f(-15.0), vec4f(15.0)))",
  sigmoid: "vec4f(1.0) / (vec4f(1.0) + exp(-z))",
  "bounded-exp": "exp(clamp(z, vec4f(-30.0), vec4f(10.0)))",
};

function functionName(activation) {
  return `act_${activation.replace("-", "_")}`;
}

/** What networks need: products of four rows, activations, and loops whose ends no compiler knows, so that none unrolls them. */
function networkPrelude(activations) {
  const lines = [...activations].map((name) => `fn ${functionName(name)}(z: vec4f) -> vec4f { return ${ACTIVATION_CODE[name]}; }\n`);
  return `var<private> zero: i32;
var<private> at: i32;
var<private> squares: vec4f;
var<private> norm: f32;
fn madd(z: vec4f, i: i32, x: vec4f) -> vec4f {
  var sum: vec4f = z;
  var left: vec4f = x;
  for (var k: i32 = 0; k < 4; k++) {
    sum += weight(i + k) * left.x;
    left = left.yzwx;
  }
  return sum;
}
fn turns(x: vec4f) -> vec4f { return x - floor(x + vec4f(0.5)); }
fn erf(x: vec4f) -> vec4f {
  let t: vec4f = vec4f(1.0) / (vec4f(1.0) + 0.3275911 * abs(x));
  let p: vec4f = t * (vec4f(0.254829592) + t * (vec4f(-0.284496736) + t * (vec4f(1.421413741) + t * (vec4f(-1.453152027) + t * 1.061405429))));
  return sign(x) * (vec4f(1.0) - p * exp(-x * x));
}
${lines.join("")}`;
}

/**
 * Code that sets the pieces of an encoding of u: u, and sine and cosine of its waves along some directions; `isDamped`:
 * averaged over a stretch of a cone, whose variances along and across `ahead` are in `spread`.
 */
function encodingCode(piece, u, basis, octaves, isDamped = false) {
  const lines = [];
  const groups = Math.ceil(basis.length / 4);
  const column = (group, axis) => vector(...[0, 1, 2, 3].map((lane) => (basis[4 * group + lane] || [0, 0, 0])[axis]));
  const along = (v, g) => `${v}.x * ${column(g, 0)} + ${v}.y * ${column(g, 1)} + ${v}.z * ${column(g, 2)}`;
  for (let g = 0; g < groups && octaves; g++) {
    lines.push(`let b${g}: vec4f = ${along(u, g)};`);
    if (!isDamped) continue;
    lines.push(`let d${g}: vec4f = ${along("ahead", g)};`, `let n${g}: vec4f = vec4f(spread.y) + (spread.x - spread.y) * d${g} * d${g};`);
    for (let octave = 0; octave < octaves; octave++) {
      lines.push(`let e${octave}_${g}: vec4f = exp(${literal(-0.5 * (Math.PI * 2 ** octave) ** 2)} * n${g});`);
    }
  }
  const parts = [`${u}.x`, `${u}.y`, `${u}.z`];
  for (const wave of ["sin", "cos"]) {
    for (let octave = 0; octave < octaves; octave++) {
      for (let g = 0; g < groups; g++) {
        const name = `${wave[0]}${octave}_${g}`;
        const damping = isDamped ? `e${octave}_${g} * ` : "";
        lines.push(`let ${name}: vec4f = ${damping}${wave}(6.283185307179586 * turns(${literal(2 ** (octave - 1))} * b${g}));`);
        for (let lane = 0; lane < 4 && 4 * g + lane < basis.length; lane++) parts.push(`${name}.${"xyzw"[lane]}`);
      }
    }
  }
  while (parts.length % 4) parts.push("0.0");
  for (let k = 0; k < piece.count; k++) lines.push(`${piece.variable(k)} = vec4f(${parts.slice(4 * k, 4 * k + 4).join(", ")});`);
  return lines.map((line) => `  ${line}\n`).join("");
}

const AXES = [[1, 0, 0], [0, 1, 0], [0, 0, 1]];

/** One of each opposite pair of corners and edge midpoints of an icosahedron, as encodings/integrated.py has them. */
function icosahedronDirections() {
  const golden = (1 + Math.sqrt(5)) / 2;
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const corners = [[0, 1, golden], [0, 1, -golden], [golden, 0, 1], [-golden, 0, 1], [1, golden, 0], [1, -golden, 0]];
  const middles = corners.flatMap((a, i) =>
    corners.slice(i + 1).map((b) => a.map((value, axis) => value + Math.sign(dot(a, b)) * b[axis]))
  );
  return [...corners, ...middles].map((v) => v.map((value) => value / Math.sqrt(dot(v, v))));
}
