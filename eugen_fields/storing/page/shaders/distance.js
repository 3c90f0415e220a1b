// Fields of signed distance: the steps of sampling/sphere_trace.py, and a cut through the field.

const TOLERANCE = 1e-3;
const BISECTIONS = 10;

/** { code, weights, multiplications } of a field { kind, scene, networks }, as radianceShader. */
function distanceShader({ kind, scene, networks }) {
  const [weights, variables] = [new Weights(), new Variables()];
  const waves = wavesOf(scene, kind);
  const position = variables.take(waves.width);
  const trunk = new NetworkWriter(weights, variables, { x: [position] });
  trunk.addAll(networks.trunk, []);
  const [value] = trunk.values.get(`f${networks.trunk.length}`);
  const [low, high] = scene.aabb;
  const side = Math.max(...low.map((corner, axis) => high[axis] - corner));
  const code = `
${networkPrelude(trunk.activations)}${RAY_CODE}
${variables.declarations}
fn look_at_place(p: vec3f) {
  let u: vec3f = ${literal(scene.scale)} * (p - ${vector(...low.map((corner, axis) => (corner + high[axis]) / 2))});
${encodingCode(position, "u", waves.directions, waves.octaves)}${trunk.code}}
fn painted(distance: f32) -> vec4f {
  let outside: vec3f = mix(vec3f(0.95, 0.97, 0.99), vec3f(0.13, 0.39, 0.68), clamp(distance / ${literal(0.25 * side)}, 0.0, 1.0));
  let inside: vec3f = mix(vec3f(0.97, 0.84, 0.72), vec3f(0.72, 0.25, 0.09), clamp(-distance / ${literal(0.05 * side)}, 0.0, 1.0));
  let spacing: f32 = ${literal(10 ** Math.round(Math.log10(side / 40)))};
  let apart: f32 = abs(fract(distance / spacing + 0.5) - 0.5) * spacing;
  let line: f32 = select(0.82, 0.25, abs(distance) < 0.5 * spacing);
  let width: f32 = 0.06 * spacing;
  return vec4f(select(inside, outside, distance > 0.0) * mix(line, 1.0, smoothstep(width, 2.0 * width, apart)), 1.0);
}
fn render(pixel: vec2f) -> vec4f {
  look_through(pixel);
  let is_cut: bool = params[5].y > 0.5;
  var high: vec3f = ${vector(...high)};
  if (is_cut) { high.z = min(high.z, params[5].x); }
  let limits: vec2f = box_limits(${vector(...low)}, high);
  let reach: f32 = limits.y - limits.x;
  if (!(reach > 0.0)) { return vec4f(0.0); }
  let through_cut: bool = is_cut && ahead.z < 0.0 && limits.x > 0.0 && abs(origin.z + limits.x * ahead.z - high.z) < ${literal(1e-5 * side)};
  var t: f32 = 0.0;
  var before: f32 = 0.0;
  var behind: f32 = 0.0;
  var gradient: vec3f = vec3f(0.0);
  var work: f32 = 0.0;
  var count: i32 = 0;
  var phase: i32 = 0;
  while (phase < 3) {
    var place: vec3f = origin + (limits.x + t) * ahead;
    if (phase == 2) { place += ${literal(2e-4 * side)} * corner_of(count); }
    look_at_place(place);
    let distance: f32 = ${literal(scene.output_scale)} * ${value.variable(0)}.x;
    work += 1.0;
    if (phase == 0) {
      if (through_cut && count == 0 && params[5].y > 1.5 && is_mode(0.0)) { return painted(distance); }
      if (distance < 0.0) {
        if (count == 0) { break; }
        behind = t;
        phase = 1;
        count = 0;
        t = 0.5 * (before + behind);
      } else if (distance <= ${literal(TOLERANCE)}) {
        phase = 2;
        count = 0;
      } else {
        if (t >= reach || count >= ${scene.trace_steps}) { break; }
        before = t;
        t = min(t + max(0.8 * distance, reach / ${literal(scene.trace_steps)}), reach);
        count++;
      }
    } else if (phase == 1) {
      if (distance < 0.0) { behind = t; } else { before = t; }
      t = 0.5 * (before + behind);
      count++;
      if (count == ${BISECTIONS}) {
        phase = 2;
        count = 0;
      }
    } else {
      gradient += distance * corner_of(count);
      count++;
      if (count == 6) { phase = 3; }
    }
    if (phase == 2 && t >= reach) { break; }
  }
  if (is_mode(4.0)) { return vec4f(work, 0.0, 0.0, 1.0); }
  if (phase < 3) {
    let is_inside: bool = through_cut && count == 0 && phase == 0;
    if (is_inside && is_mode(0.0)) { return vec4f(0.23, 0.25, 0.29, 1.0); }
    return vec4f(0.0);
  }
  let normal: vec3f = gradient / max(length(gradient), 1e-20);
  if (is_mode(1.0)) { return vec4f(as_depth(limits.x + t), 0.0, 0.0, 1.0); }
  if (is_mode(2.0)) { return vec4f(0.5 + 0.5 * normal, 1.0); }
  if (is_mode(3.0)) { return vec4f(1.0); }
  return vec4f((0.2 + 0.8 * abs(dot(normal, ahead))) * ${vector(...scene.surface_color)}, 1.0);
}
`;
  return { code, weights, multiplications: [trunk.multiplications, 0] };
}
