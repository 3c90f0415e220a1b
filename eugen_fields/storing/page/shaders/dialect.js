// Shaders are written once, in the part of WGSL that differs from GLSL by its spelling alone, and respelled for WebGL2.
// Both see params, four numbers each, and functions for what else a pass reads.

/** Of params in both passes. */
const PARAMS = 6;

/** A number as both languages spell it, rounded as they would. */
function literal(value) {
  const text = String(Math.fround(value));
  return /[.e]/.test(text) ? text : `${text}.0`;
}

function vector(...values) {
  return `vec${values.length}f(${values.map(literal).join(", ")})`;
}

const GLSL_TYPES = { f32: "float", i32: "int", bool: "bool", vec2f: "vec2", vec3f: "vec3", vec4f: "vec4", vec3i: "ivec3" };

function glslOf(wgsl) {
  const type = (name) => GLSL_TYPES[name];
  const parameters = (list) => list.replace(/(\w+): (\w+)/g, (_, name, kind) => `${type(kind)} ${name}`);
  return wgsl
    .replace(/fn (\w+)\(([^)]*)\) -> (\w+) \{/g, (_, name, list, kind) => `${type(kind)} ${name}(${parameters(list)}) {`)
    .replace(/fn (\w+)\(([^)]*)\) \{/g, (_, name, list) => `void ${name}(${parameters(list)}) {`)
    .replace(/(?:var<private>|var|let) (\w+): (\w+)/g, (_, name, kind) => `${type(kind)} ${name}`)
    .replace(/\b(f32|i32|vec[234][fi])\(/g, (_, kind) => `${type(kind)}(`);
}

const GLSL_START = `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2D;
precision highp usampler3D;
precision highp isampler2D;
uniform vec4 params[${PARAMS}];
out vec4 result;
float select(float no, float yes, bool which) { return which ? yes : no; }
vec3 select(vec3 no, vec3 yes, bool which) { return which ? yes : no; }
`;
const WGSL_START = `@group(0) @binding(0) var<uniform> params: array<vec4f, ${PARAMS}>;
@vertex fn triangle(@builtin(vertex_index) i: u32) -> @builtin(position) vec4f {
  return vec4f(f32(i & 1u) * 4.0 - 1.0, f32(i >> 1u) * 4.0 - 1.0, 0.0, 1.0);
}
`;
const GLSL_VERTEX = `#version 300 es
void main() { gl_Position = vec4(float(gl_VertexID & 1) * 4.0 - 1.0, float(gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0); }
`;

/** What a pass reads, in both languages. */
const READS = {
  field: {
    glsl: `uniform sampler2D weights;
uniform usampler3D gaps;
uniform isampler2D texels;
vec4 weight(int i) { return texelFetch(weights, ivec2(i & 1023, i >> 10), 0); }
int gap(ivec3 cell) { return int(texelFetch(gaps, cell, 0).x); }
vec4 texel(int i) { return vec4(texelFetch(texels, ivec2(i & ${TEXELS_ACROSS - 1}, i >> ${Math.log2(TEXELS_ACROSS)}), 0)); }
`,
    wgsl: `@group(0) @binding(1) var<storage, read> weights: array<vec4f>;
@group(0) @binding(2) var gaps: texture_3d<u32>;
@group(0) @binding(3) var texels: texture_2d<i32>;
fn weight(i: i32) -> vec4f { return weights[i]; }
fn gap(cell: vec3i) -> i32 { return i32(textureLoad(gaps, cell, 0).x); }
fn texel(i: i32) -> vec4f { return vec4f(textureLoad(texels, vec2i(i & ${TEXELS_ACROSS - 1}, i >> ${Math.log2(TEXELS_ACROSS)}), 0)); }
`,
  },
  picture: {
    glsl: `uniform sampler2D picture;
vec4 drawn(int x, int y) { return texelFetch(picture, ivec2(x, y), 0); }
`,
    wgsl: `@group(0) @binding(1) var picture: texture_2d<f32>;
fn drawn(x: i32, y: i32) -> vec4f { return textureLoad(picture, vec2i(x, y), 0); }
`,
  },
};

/** A fragment shader of code with fn render(pixel: vec2f) -> vec4f. */
function glslFragment(code, reads) {
  return `${GLSL_START}${READS[reads].glsl}${glslOf(code)}void main() { result = render(gl_FragCoord.xy); }\n`;
}

/** The same, and the vertex shader with it. */
function wgslModule(code, reads) {
  const end = "@fragment fn main(@builtin(position) place: vec4f) -> @location(0) vec4f { return render(place.xy); }\n";
  return `${WGSL_START}${READS[reads].wgsl}${code}${end}`;
}
