// Bytes of a field file to its scene and arrays. storing/FORMAT.md describes them.

const MOST_FILE_BYTES = 8 << 20;
const MOST_INFLATED_BYTES = 24 << 20;
const MOST_HEADER_BYTES = 64 << 10;
const MOST_ARRAYS = 256;
const ITEM_BYTES = { I8: 1, U8: 1, F16: 2, F32: 4 };

/** What cannot be shown; its message is a sentence for people. */
class Refused extends Error {}

function require(condition, what) {
  if (!condition) throw new Refused(`The field in this page is damaged: ${what}.`);
}

/** The bytes of base64 text. */
function bytesOfBase64(text) {
  return Uint8Array.from(atob(text.trim()), (character) => character.charCodeAt(0));
}

/** A gzip member inflated, and no further than a field file may. */
async function inflate(bytes) {
  require(bytes.length <= MOST_FILE_BYTES, "it is too large");
  if (typeof DecompressionStream === "undefined") {
    throw new Refused("This browser cannot unpack gzip. Browsers from 2023 on can: please update it.");
  }
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")).getReader();
  const plain = new Uint8Array(MOST_INFLATED_BYTES);
  let length = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return plain.slice(0, length);
      if (length + value.length > plain.length) break;
      plain.set(value, length);
      length += value.length;
    }
  } catch (error) {
    require(false, "it cannot be unpacked");
  }
  reader.cancel();
  require(false, "it unpacks to more than a field file may");
}

/** { kind, scene, arrays } of a field file; arrays by name as { dtype, shape, values }. */
async function readFieldFile(bytes) {
  const plain = await inflate(bytes);
  const view = new DataView(plain.buffer);
  require(plain.length >= 8 && view.getUint32(4, true) === 0, "it has no header");
  const length = view.getUint32(0, true);
  require(length <= Math.min(MOST_HEADER_BYTES, plain.length - 8), "its header is too long");
  const { __metadata__: about, ...entries } = parsed(new TextDecoder().decode(plain.subarray(8, 8 + length)));
  require(about && about.format === "eugen-field" && typeof about.scene === "string", "it is no field file");
  require(/^1\.\d+$/.test(about.version), "it is of another version than this page");
  const body = plain.subarray(8 + length);
  await checkDigest(about, body);
  return { kind: about.kind, scene: parsed(about.scene), arrays: readArrays(entries, body) };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    require(false, "its header is no JSON");
  }
}

/** Compares the SHA-256, where the browser computes one: only in pages that it calls secure. */
async function checkDigest(about, body) {
  if (!globalThis.crypto || !crypto.subtle) return;
  const scene = new TextEncoder().encode(about.scene);
  const all = new Uint8Array(scene.length + body.length);
  all.set(scene);
  all.set(body, scene.length);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", all));
  const text = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  require(text === about.sha256, "its content does not have the SHA-256 that its header names");
}

function readArrays(entries, body) {
  const names = Object.keys(entries);
  require(names.length <= MOST_ARRAYS, "it has too many arrays");
  names.sort((a, b) => entries[a].data_offsets[0] - entries[b].data_offsets[0]);
  const arrays = new Map();
  let end = 0;
  for (const name of names) {
    const { dtype, shape, data_offsets: [start, stop] } = entries[name];
    const count = shape.reduce((product, side) => product * side, 1);
    require(dtype in ITEM_BYTES && shape.length <= 3 && count >= 0, `array ${name} cannot be`);
    require(start === end && stop <= body.length && stop - start === count * ITEM_BYTES[dtype], `array ${name}`);
    const values = numbersOf(dtype, body.slice(start, stop).buffer);
    require(dtype[0] !== "F" || values.every(Number.isFinite), `array ${name} is not finite`);
    arrays.set(name, { dtype, shape, values });
    end = stop;
  }
  require(end === body.length, "bytes in it belong to no array");
  return arrays;
}

function numbersOf(dtype, buffer) {
  if (dtype === "I8") return new Int8Array(buffer);
  if (dtype === "U8") return new Uint8Array(buffer);
  if (dtype === "F32") return new Float32Array(buffer);
  return Float32Array.from(new Uint16Array(buffer), floatOfHalf);
}

function floatOfHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent ? sign * 2 ** (exponent - 25) * (1024 + fraction) : sign * 2 ** -24 * fraction;
}

/** That many booleans, as bytes 0 or 1, of an array that packs eight in a byte, lowest bit first. */
function bitsOf(arrays, name, count) {
  const array = arrays.get(name);
  require(array && array.dtype === "U8" && array.values.length === Math.ceil(count / 8), `array ${name}`);
  return Uint8Array.from({ length: count }, (_, i) => (array.values[i >> 3] >> (i & 7)) & 1);
}
