// What every field's shader begins with: the camera's rays, and what is drawn of them.

const MODES = ["colour", "depth", "normals", "accumulation", "work"];

/**
 * params[0..3].xyz are origin, right, up and back of the camera in the scene; their w the mode, fx, fy and cx, pixels.
 * params[4]: cy, the nearest and farthest depth of that mode, and 0, which keeps compilers from knowing how long loops are.
 * params[5]: the height of the cut and what is done at it (0 nothing, 1 cut off what is above, 2 and paint distances).
 */
const RAY_CODE = `
var<private> origin: vec3f;
var<private> ahead: vec3f;
var<private> radius: f32;
fn look_through(pixel: vec2f) {
  let x: f32 = (pixel.x - params[3].w) / params[1].w;
  let y: f32 = (params[4].x - pixel.y) / params[2].w;
  zero = i32(params[4].w);
  origin = params[0].xyz;
  ahead = normalize(x * params[1].xyz + y * params[2].xyz - params[3].xyz);
  // at distance 1, of the disc with the variance of the pixel: Camera.rays in storing/cameras.py
  let area: f32 = sqrt(1.0 + y * y) * sqrt(1.0 + x * x) / (params[1].w * params[2].w);
  radius = sqrt(area / 3.0) / (1.0 + x * x + y * y);
}
fn is_mode(mode: f32) -> bool { return abs(params[0].w - mode) < 0.5; }
fn without_zeros(d: vec3f) -> vec3f {
  return vec3f(select(d.x, 1e-9, abs(d.x) < 1e-9), select(d.y, 1e-9, abs(d.y) < 1e-9), select(d.z, 1e-9, abs(d.z) < 1e-9));
}
fn box_limits(low: vec3f, high: vec3f) -> vec2f {
  let slope: vec3f = without_zeros(ahead);
  let first: vec3f = (low - origin) / slope;
  let second: vec3f = (high - origin) / slope;
  let enter: vec3f = min(first, second);
  let leave: vec3f = max(first, second);
  return vec2f(max(max(enter.x, max(enter.y, enter.z)), 0.0), min(leave.x, min(leave.y, leave.z)));
}
fn as_depth(depth: f32) -> f32 { return clamp((depth - params[4].y) / max(params[4].z - params[4].y, 1e-9), 0.0, 1.0); }
fn corner_of(i: i32) -> vec3f {
  let side: f32 = select(-1.0, 1.0, (i & 1) == 1);
  return side * vec3f(select(0.0, 1.0, i < 2), select(0.0, 1.0, i == 2 || i == 3), select(0.0, 1.0, i > 3));
}
`;
