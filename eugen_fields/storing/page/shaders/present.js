// The second pass: what was rendered, at whatever size, over a backdrop and in the colours of its mode.

/**
 * params[0]: the mode, the width and height of what was rendered, and 1 where rows of the canvas count from below.
 * params[1]: width and height of the canvas. params[2] and [3]: the backdrop in the middle and at the corners.
 */
const PRESENT_CODE = `
fn heat(x: f32) -> vec3f {
  let low: vec3f = mix(vec3f(0.19, 0.07, 0.23), vec3f(0.16, 0.56, 0.76), clamp(3.0 * x, 0.0, 1.0));
  let middle: vec3f = mix(low, vec3f(0.95, 0.84, 0.37), clamp(3.0 * x - 1.0, 0.0, 1.0));
  return mix(middle, vec3f(0.79, 0.22, 0.13), clamp(3.0 * x - 2.0, 0.0, 1.0));
}
fn row(at: vec2f, y: f32) -> vec4f {
  let x: f32 = floor(at.x);
  let last: f32 = params[0].y - 1.0;
  let left: vec4f = drawn(i32(clamp(x, 0.0, last)), i32(y));
  return mix(left, drawn(i32(clamp(x + 1.0, 0.0, last)), i32(y)), at.x - x);
}
fn render(pixel: vec2f) -> vec4f {
  let across: vec2f = vec2f(pixel.x, select(pixel.y, params[1].y - pixel.y, params[0].w > 0.5)) / params[1].xy;
  let at: vec2f = across * params[0].yz - vec2f(0.5);
  let y: f32 = floor(at.y);
  let last: f32 = params[0].z - 1.0;
  let color: vec4f = mix(row(at, clamp(y, 0.0, last)), row(at, clamp(y + 1.0, 0.0, last)), at.y - y);
  let behind: vec3f = mix(params[2].xyz, params[3].xyz, smoothstep(0.15, 0.8, length(across - vec2f(0.5, 0.45))));
  if (abs(params[0].x - 1.0) < 0.5) { return vec4f(mix(behind, heat(1.0 - color.x), color.w), 1.0); }
  return vec4f(color.xyz + (1.0 - color.w) * behind, 1.0);
}
`;
