// Random matrices of PRP layers from their seeds, as layers/random_matrices.py draws them: equal in every float32.

/** A 64-bit integer as its two halves: generators need products modulo 2^64, which doubles cannot hold. */
class Bits64 {
  constructor(high, low) {
    this.high = high >>> 0;
    this.low = low >>> 0;
  }

  static of(big) {
    return new Bits64(Number((big >> 32n) & 0xffffffffn), Number(big & 0xffffffffn));
  }

  plus(other) {
    const low = this.low + other.low;
    return new Bits64(this.high + other.high + (low > 0xffffffff ? 1 : 0), low);
  }

  times(other) {
    const [a, b] = [this.low >>> 16, this.low & 0xffff];
    const [c, d] = [other.low >>> 16, other.low & 0xffff];
    const middle = b * c + ((b * d) >>> 16);
    const upper = a * d + (middle & 0xffff);
    const low = ((upper & 0xffff) << 16) | ((b * d) & 0xffff);
    const carried = a * c + Math.floor(middle / 65536) + Math.floor(upper / 65536);
    return new Bits64(carried + Math.imul(this.high, other.low) + Math.imul(this.low, other.high), low);
  }

  /** this ^ (this >>> count) for counts below 32. */
  folded(count) {
    const low = (this.low >>> count) | (this.high << (32 - count));
    return new Bits64(this.high ^ (this.high >>> count), this.low ^ low);
  }
}

const GOLDEN = Bits64.of(0x9e3779b97f4a7c15n);
const MIX_1 = Bits64.of(0xbf58476d1ce4e5b9n);
const MIX_2 = Bits64.of(0x94d049bb133111ebn);

function mixed(bits) {
  return bits.folded(30).times(MIX_1).folded(27).times(MIX_2).folded(31);
}

/** count numbers in (0, 1] of a seed (a BigInt) and a stream. */
function uniform(count, seed, stream) {
  const key = mixed(mixed(Bits64.of(seed)).plus(Bits64.of(0x9e3779b97f4a7c15n * BigInt(stream + 1))));
  const draws = new Float64Array(count);
  let counter = key;
  for (let i = 0; i < count; i++) {
    counter = counter.plus(GOLDEN);
    const bits = mixed(counter);
    draws[i] = (bits.high * 2097152 + (bits.low >>> 11) + 1) * 2 ** -53;
  }
  return draws;
}

const float64 = new DataView(new ArrayBuffer(8));

/** The logarithm from additions, products and quotients alone: Math.log may differ between browsers. */
function exactLog(x) {
  float64.setFloat64(0, x);
  let exponent = ((float64.getUint16(0) >> 4) & 2047) - 1022;
  float64.setUint16(0, (float64.getUint16(0) & 0x800f) | (1022 << 4));
  let mantissa = float64.getFloat64(0);
  if (mantissa < Math.sqrt(0.5)) {
    mantissa *= 2;
    exponent -= 1;
  }
  const ratio = (mantissa - 1) / (mantissa + 1);
  const square = ratio * ratio;
  let series = 0;
  for (let n = 12; n >= 0; n--) series = series * square + 1 / (2 * n + 1);
  return exponent * Math.LN2 + 2 * (ratio * series);
}

const COSINE = Array.from({ length: 17 }, (_, n) => {
  let factorial = 1n;
  for (let i = 2n; i <= 2 * n; i++) factorial *= i;
  return (n % 2 ? -1 : 1) / Number(factorial);
});

/** cos(2 pi turns) for turns in [0, 1]. */
function exactCosine(turns) {
  const angle = (turns - 0.5) * (2 * Math.PI);
  const square = angle * angle;
  let series = 0;
  for (let n = 16; n >= 0; n--) series = series * square + COSINE[n];
  return -series;
}

function normal(count, seed, stream) {
  const draws = uniform(2 * count, seed, stream);
  return Float64Array.from({ length: count }, (_, j) => Math.sqrt(-2 * exactLog(draws[j])) * exactCosine(draws[count + j]));
}

/** A block of orthonormal rows (height, columns): Gram-Schmidt, done twice, on normal columns of that height. */
function orthonormalRows(columns, height, seed, stream) {
  const draws = normal(columns * height, seed, stream);
  const rows = Array.from({ length: height }, (_, r) => Float64Array.from({ length: columns }, (_, c) => draws[c * height + r]));
  rows.forEach((row, r) => {
    for (let round = 0; round < 2; round++) {
      for (let q = 0; q < r; q++) {
        let along = 0;
        for (let c = 0; c < columns; c++) along += row[c] * rows[q][c];
        for (let c = 0; c < columns; c++) row[c] -= along * rows[q][c];
      }
    }
    const norm = Math.sqrt(row.reduce((sum, value) => sum + value * value, 0));
    for (let c = 0; c < columns; c++) row[c] /= norm;
  });
  return rows;
}

/** A block of t rows of Sylvester's Hadamard matrix with random signs, entries +1 and -1, (t, columns). */
function hadamardRows(columns, size, t, seed, stream) {
  const signs = uniform(columns, seed, stream + 1);
  let order = Array.from({ length: size }, (_, row) => row);
  if (t < size) {
    const draws = uniform(size, seed, stream);
    order = order.sort((a, b) => draws[a] - draws[b] || a - b).slice(0, t);
  }
  return order.map((row) =>
    Float64Array.from({ length: columns }, (_, c) => {
      let ones = 0;
      for (let bits = row & c; bits; bits &= bits - 1) ones++;
      return (ones & 1 ? -1 : 1) * (signs[c] <= 0.5 ? -1 : 1);
    })
  );
}

/** P^T of a PRP layer, row by row, float32 (out * columns). */
function prpMatrix(kind, columns, out, seed) {
  const matrix = new Float32Array(out * columns);
  const fill = (rows, first) => rows.forEach((row, r) => matrix.set(row, (first + r) * columns));
  const root = Math.sqrt(columns);
  if (kind === "gaussian") {
    matrix.set(normal(out * columns, seed, 0).map((value) => value / root));
  } else if (kind === "ternary") {
    const draws = uniform(out * columns, seed, 0);
    matrix.set(draws.map((u) => ((u > 5 / 6 ? 1 : u <= 1 / 6 ? -1 : 0) * Math.sqrt(3)) / root));
  } else if (kind === "orthogonal") {
    for (let first = 0, block = 1; first < out; first += columns, block++) {
      fill(orthonormalRows(columns, Math.min(columns, out - first), seed, block), first);
    }
  } else if (kind === "hadamard") {
    const size = 2 ** Math.ceil(Math.log2(columns));
    for (let first = 0, block = 0; first < out; first += size, block++) {
      const rows = hadamardRows(columns, size, Math.min(size, out - first), seed, 2 * block);
      fill(rows.map((row) => row.map((value) => value / root)), first);
    }
  } else {
    require(false, "a random matrix of a kind that is not known");
  }
  return matrix;
}
