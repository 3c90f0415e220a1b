// The camera that looks at a field: where it stands, what it turns around, and the lens of a training view.

const DEFAULT_LENS = { width: 100, height: 100, fx: 120, fy: 120, cx: 50, cy: 50 };

class View {
  constructor(field) {
    this.field = field;
    const [low, high] = field.bounds;
    this.middle = scaled(plus(low, high), 0.5);
    this.radius = length(minus(high, low)) / 2;
    this.sky = skyOf(field.cameras);
    this.lens = field.cameras[0] || DEFAULT_LENS;
    this.moving = null;
    this.reset();
  }

  /** The view that the page opens with: a training view from a little above that shows much, or for rooms, from above. */
  reset() {
    const { cameras, kind } = this.field;
    const isRoom = kind === "distance";
    const slope = isRoom ? 0.82 : 0.5; // sine of the angle above the horizon
    if (cameras.length && !isRoom) {
      const [x, y, z] = minus(this.field.bounds[1], this.field.bounds[0]);
      const shown = ({ back }) => dot(back.map(Math.abs), [y * z, x * z, x * y]) * (1 - Math.abs(dot(back, this.sky) - slope));
      this.stand(cameras.reduce((best, camera) => (shown(camera) > shown(best) ? camera : best)));
    } else {
      const east = normalised(cross([0.3, 1, 0.1], this.sky));
      const towards = plus(scaled(east, 0.5), scaled(cross(this.sky, east), -0.87));
      const back = normalised(plus(scaled(towards, Math.sqrt(1 - slope * slope)), scaled(this.sky, slope)));
      const right = normalised(cross(this.sky, back));
      this.stand({ origin: plus(this.middle, back), right, up: cross(back, right), back, ...DEFAULT_LENS });
    }
    this.fit();
  }

  /** Looks at the middle from where the whole box is just seen. */
  fit() {
    const [low, high] = this.field.bounds;
    let distance = 0;
    for (let corner = 0; corner < 8; corner++) {
      const place = minus(low.map((value, axis) => ((corner >> axis) & 1 ? high[axis] : value)), this.middle);
      const across = (Math.abs(dot(place, this.right)) * this.lens.fx) / (this.lens.width / 2);
      const along = (Math.abs(dot(place, this.up)) * this.lens.fy) / (this.lens.height / 2);
      distance = Math.max(distance, dot(place, this.back) + Math.max(across, along));
    }
    this.target = this.middle;
    this.origin = plus(this.middle, scaled(this.back, distance));
  }

  /** Takes a camera's place; what is turned around is the point ahead that is nearest to the middle. */
  stand(camera) {
    const { origin, right, up, back } = camera;
    Object.assign(this, { origin, right, up, back, lens: camera });
    const ahead = dot(minus(this.middle, origin), scaled(back, -1));
    this.target = minus(origin, scaled(back, Math.max(ahead, 0.15 * this.radius)));
  }

  get distance() {
    return length(minus(this.origin, this.target));
  }

  /** Turns around the target, radians. */
  orbit(across, along) {
    const turned = (v) => rotated(rotated(v, this.right, along), this.sky, across);
    const arm = turned(minus(this.origin, this.target));
    const back = turned(this.back);
    const height = dot(back, this.sky);
    if (Math.abs(height) > 0.996 && Math.abs(height) > Math.abs(dot(this.back, this.sky))) {
      if (along) this.orbit(across, 0);
      return;
    }
    [this.right, this.up] = [turned(this.right), turned(this.up)];
    this.back = back;
    this.origin = plus(this.target, arm);
  }

  /** Moves sideways by shares of the height of the picture. */
  pan(across, along) {
    const size = (this.distance * this.lens.height) / this.lens.fy;
    const by = plus(scaled(this.right, -across * size), scaled(this.up, along * size));
    this.origin = plus(this.origin, by);
    this.target = plus(this.target, by);
  }

  /** Goes nearer (factor below 1) or away. */
  dolly(factor) {
    const distance = Math.min(Math.max(this.distance * factor, 0.02 * this.radius), 20 * this.radius);
    this.origin = plus(this.target, scaled(normalised(minus(this.origin, this.target)), distance));
  }

  /** Glides to a camera. */
  glide(camera, now) {
    const { origin, right, up, back, lens } = this;
    this.moving = { from: { origin, right, up, back, ...lensOf(lens) }, to: camera, start: now, duration: 650 };
  }

  /** Moves on; whether there is more to come. */
  advance(now) {
    if (!this.moving) return false;
    const { from, to, start, duration } = this.moving;
    const time = Math.min(1, (now - start) / duration);
    if (time === 1) {
      this.moving = null;
      this.stand(to);
      return true;
    }
    const share = time * time * (3 - 2 * time);
    const mixed = (a, b) => plus(scaled(a, 1 - share), scaled(b, share));
    const right = normalised(mixed(from.right, to.right));
    let back = mixed(from.back, to.back);
    back = normalised(minus(back, scaled(right, dot(back, right))));
    const goal = { ...lensOf(to) };
    const lens = Object.fromEntries(Object.keys(goal).map((key) => [key, from[key] * (1 - share) + goal[key] * share]));
    Object.assign(this, { origin: mixed(from.origin, to.origin), right, back, up: cross(back, right), lens });
    return true;
  }

  /** The camera for a picture of some size, in which the lens's picture fits between the margins (shares of the size). */
  camera(width, height, margins = { top: 0, bottom: 0, left: 0, right: 0 }) {
    const { origin, right, up, back, lens } = this;
    const free = { width: width * (1 - margins.left - margins.right), height: height * (1 - margins.top - margins.bottom) };
    const scale = Math.min(free.width / lens.width, free.height / lens.height);
    const cx = width * margins.left + free.width / 2 + (lens.cx - lens.width / 2) * scale;
    const cy = height * margins.top + free.height / 2 + (lens.cy - lens.height / 2) * scale;
    return { origin, right, up, back, width, height, fx: lens.fx * scale, fy: lens.fy * scale, cx, cy };
  }
}

const lensOf = ({ width, height, fx, fy, cx, cy }) => ({ width, height, fx, fy, cx, cy });

/** Which way is up: the z axis, unless the cameras clearly have another. */
function skyOf(cameras) {
  const mean = cameras.reduce((sum, camera) => plus(sum, camera.up), [0, 0, 0]);
  const agree = length(mean) / Math.max(cameras.length, 1);
  return agree > 0.6 && normalised(mean)[2] < 0.7 ? normalised(mean) : [0, 0, 1];
}

/** v turned around a unit axis (Rodrigues' formula). */
function rotated(v, axis, angle) {
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  return plus(plus(scaled(v, c), scaled(cross(axis, v), s)), scaled(axis, dot(axis, v) * (1 - c)));
}
