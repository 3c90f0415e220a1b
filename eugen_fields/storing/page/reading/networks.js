// Networks of a field file as matrices: integers times their scales, random matrices from their seeds.

const ACTIVATIONS = ["identity", "relu", "gelu", "silu", "softplus", "softplus100", "sine", "tanh", "sigmoid", "bounded-exp"];
const MOST_STAGES = 32;
const MOST_WIDTH = 1024;
const MOST_DRAWN = 1 << 21;

/** A matrix (rows, columns), float32, row by row. */
class Matrix {
  constructor(rows, columns, values = new Float32Array(rows * columns)) {
    Object.assign(this, { rows, columns, values });
  }

  static identity(size) {
    const matrix = new Matrix(size, size);
    for (let i = 0; i < size; i++) matrix.values[i * (size + 1)] = 1;
    return matrix;
  }

  at(row, column) {
    return row < this.rows && column < this.columns ? this.values[row * this.columns + column] : 0;
  }

  /** Columns from start to end, the end not included. */
  slice(start, end) {
    const part = new Matrix(this.rows, end - start);
    for (let row = 0; row < this.rows; row++) {
      part.values.set(this.values.subarray(row * this.columns + start, row * this.columns + end), row * part.columns);
    }
    return part;
  }

  rowsFrom(start, end) {
    return new Matrix(end - start, this.columns, this.values.subarray(start * this.columns, end * this.columns));
  }

  /** The product, summed in double precision. */
  times(other) {
    const product = new Matrix(this.rows, other.columns);
    const sums = new Float64Array(other.columns);
    for (let row = 0; row < this.rows; row++) {
      sums.fill(0);
      for (let k = 0; k < this.columns; k++) {
        const factor = this.values[row * this.columns + k];
        if (factor) for (let c = 0; c < other.columns; c++) sums[c] += factor * other.values[k * other.columns + c];
      }
      product.values.set(sums, row * other.columns);
    }
    return product;
  }

  plus(other) {
    return new Matrix(this.rows, this.columns, this.values.map((value, i) => value + other.values[i]));
  }
}

/** Takes numbers of networks out of arrays. */
class Numbers {
  constructor(arrays) {
    this.arrays = arrays;
  }

  has(name) {
    return this.arrays.has(name);
  }

  vector(name, length) {
    const array = this.arrays.get(name);
    require(array && array.dtype[0] === "F" && array.shape.length === 1, `it lacks ${name}`);
    require(length === undefined || array.shape[0] === length, `${name} does not fit`);
    return Float32Array.from(array.values);
  }

  matrix(name, rows, columns) {
    const array = this.arrays.get(name);
    require(array && array.dtype !== "U8" && array.shape.length === 2, `it lacks ${name}`);
    const [height, width] = array.shape;
    require((rows === undefined || rows === height) && columns === width, `${name} does not fit`);
    if (array.dtype !== "I8") return new Matrix(height, width, Float32Array.from(array.values));
    const scale = this.vector(`${name}.scale`, height);
    return new Matrix(height, width, Float32Array.from(array.values, (value, i) => value * scale[Math.floor(i / width)]));
  }
}

/**
 * The stages of a network, each { reads, rows, width, activation, weights, bias, norm, products } or { reads, joined }:
 * weights is a Map from a value that is read to its matrix; norm is null or { squared, column, weight, bias }.
 */
function readNetwork(name, stages, numbers, inputs, outputs) {
  require(Array.isArray(stages) && stages.length >= 1 && stages.length <= MOST_STAGES, `network ${name}`);
  const widths = new Map([["x", inputs]]);
  let drawn = 0;
  const found = stages.map((about, index) => {
    const place = `${name}.${index}`;
    require(Array.isArray(about.reads) && about.reads.length && about.reads.every((read) => widths.has(read)), place);
    const columns = about.reads.reduce((sum, read) => sum + widths.get(read), 0);
    let stage;
    if (about.type === "joined") {
      stage = { reads: about.reads, joined: true, width: columns };
    } else {
      require(ACTIVATIONS.includes(about.activation), `stage ${place} has an activation that is not known`);
      if (about.type === "prp") {
        drawn += about.out * columns;
        require(about.out >= 1 && about.out <= MOST_WIDTH && drawn <= MOST_DRAWN, `stage ${place} is too wide`);
        stage = prpStage(about, place, numbers, widths, columns);
      } else {
        stage = linearStage(about, place, numbers, widths);
      }
      require(stage.width >= 1 && stage.width <= MOST_WIDTH, `stage ${place} is too wide`);
    }
    widths.set(`f${index + 1}`, stage.width);
    return stage;
  });
  require(found[found.length - 1].width === outputs, `network ${name} returns another number of values`);
  return found;
}

function linearStage(about, place, numbers, widths) {
  const bias = numbers.vector(`${place}.bias`);
  const rows = bias.length;
  const weights = new Map();
  for (const read of about.reads) weights.set(read, numbers.matrix(`${place}.weight.${read}`, rows, widths.get(read)));
  let norm = null;
  if (about.norm) {
    norm = { squared: about.norm === "squared", column: numbers.vector(`${place}.norm_column`, rows), weight: null };
    if (numbers.has(`${place}.norm_weight`)) {
      norm.weight = numbers.matrix(`${place}.norm_weight`, undefined, widths.get(about.reads[0]));
      norm.bias = numbers.vector(`${place}.norm_bias`, norm.weight.rows);
    }
  }
  const products = productsOf(about.products || [rows, 1, true], rows, place);
  return { reads: about.reads, rows, width: products.m * products.k, activation: about.activation, weights, bias, norm, products };
}

/** { m, k, blocks }: blocks[i] lists which blocks of m rows are multiplied for the features of order i + 1. */
function productsOf([m, k, shared], rows, place) {
  const blocks = Array.from({ length: k }, (_, i) => {
    const first = shared ? 0 : (i * (i + 1)) / 2;
    return Array.from({ length: i + 1 }, (_, j) => first + j);
  });
  require(m >= 1 && k >= 1 && k <= 4 && rows === m * (shared ? k : (k * (k + 1)) / 2), `products of stage ${place}`);
  return { m, k, blocks };
}

/** P^T (v * alpha) * scale + bias + up (down v) as a linear stage: its matrix is computed once, here. */
function prpStage(about, place, numbers, widths, columns) {
  const rows = about.out;
  let matrix = new Matrix(rows, columns, prpMatrix(about.matrix, columns, rows, BigInt(about.seed)));
  const vector = (entry, length, missing) =>
    numbers.has(`${place}.${entry}`) ? numbers.vector(`${place}.${entry}`, length) : new Float32Array(length).fill(missing);
  const alpha = vector("alpha", columns, 1);
  const scale = vector("scale", rows, 1);
  matrix.values = matrix.values.map((value, i) => value * alpha[i % columns] * scale[Math.floor(i / columns)]);
  if (numbers.has(`${place}.down`)) {
    const down = numbers.matrix(`${place}.down`, undefined, columns);
    matrix = matrix.plus(numbers.matrix(`${place}.up`, rows, down.rows).times(down));
  }
  const weights = new Map();
  let start = 0;
  for (const read of about.reads) {
    weights.set(read, matrix.slice(start, start + widths.get(read)));
    start += widths.get(read);
  }
  const bias = vector("bias", rows, 0);
  return { reads: about.reads, rows, width: rows, activation: about.activation, weights, bias, norm: null, products: productsOf([rows, 1, true], rows, place) };
}
