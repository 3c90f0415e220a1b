// The page: opens the field in it, draws it, and connects the controls.

const byId = (id) => document.getElementById(id);
const WAYS = { "#webgpu": ["webgpu"], "#webgl2": ["webgl2"] };
const NO_DRAWING =
  "This browser offers neither WebGPU nor WebGL2, one of which drawing the field needs. Current versions of Chrome, Edge, Firefox and Safari have them; where yours has, its graphics acceleration may be switched off.";
const LOST = "The graphics driver stopped drawing, as it does when a device sleeps or is short of memory. Reload the page to draw again.";
const FAILED = "Drawing stopped because of an error. Reload the page to draw again.";

function tell(sentence, detail = "") {
  byId("message").replaceChildren(element("p", sentence), ...(detail ? [element("small", detail)] : []));
  byId("message").hidden = false;
  document.body.classList.add("stopped");
}

async function main() {
  const about = JSON.parse(byId("about-field").textContent);
  const bytes = bytesOfBase64(byId("field-file").textContent);
  const start = performance.now();
  let field, started;
  try {
    field = await openField(bytes);
  } catch (error) {
    tell(error instanceof Refused ? error.message : "The field in this page is damaged.", error instanceof Refused ? "" : error.message);
    throw error;
  }
  describe(field, bytes);
  const read = performance.now();
  try {
    started = await startDrawing(byId("view"), field, about.probe, WAYS[location.hash] || ["webgpu", "webgl2"]);
  } catch (error) {
    tell(/draws wrong/.test(error.message) ? "The graphics driver of this device draws the field wrongly, so the page shows nothing. Another browser may do better." : NO_DRAWING, error.message);
    throw error;
  }
  const page = new Page(field, bytes, started.drawing, started.canvas);
  page.milliseconds = { read: read - start, compile: started.compiled - read, probe: performance.now() - started.compiled };
  page.frames.resize();
  return page;
}

/** Everything that can be said before anything is drawn. */
function describe(field, bytes) {
  const { scene } = field;
  document.body.classList.toggle("dark", dot(scene.background, [0.3, 0.6, 0.1]) < 0.4);
  byId("name").textContent = scene.name || "A neural field";
  byId("line").textContent = `A whole neural field in ${(bytes.length / 1000).toFixed(1)} kB`;
  showFacts(byId("facts"), factsOf(field));
  showFacts(byId("keys"), KEYS);
}

class Page {
  constructor(field, bytes, drawing, canvas) {
    Object.assign(this, { field, bytes, drawing, canvas });
    this.view = new View(field);
    const isDistance = field.kind === "distance";
    this.look = { mode: "colour", cut: { height: isDistance ? field.scene.slice_height : 0, way: isDistance ? 1 : 0 } };
    this.isPlain = false;
    this.current = -1;
    this.turning = false;
    this.frames = new Frames(drawing, canvas, field, {
      compose: (width, height) => this.compose(width, height),
      progress: (share) => (byId("progress").style.transform = `scaleX(${share < 1 ? share : 0})`),
      finished: (facts) => this.report(facts),
      idle: (isWanted) => this.drawThumbnails(isWanted),
      failed: (error) => tell(FAILED, error.message),
    });
    drawing.lost = () => tell(LOST);
    const change = () => this.moved();
    followGestures(canvas, this.view, { change, aim: (x, y) => this.aim(x, y) });
    followKeys(this.view, change, {
      1: () => this.setMode("colour"), 2: () => this.setMode("depth"), 3: () => this.setMode("normals"), 4: () => this.setMode("accumulation"),
      "[": () => this.jump(this.current - 1), "]": () => this.jump(this.current + 1),
      r: () => this.reset(), t: () => this.turn(!this.turning), p: () => this.savePicture(), f: () => this.saveField(),
    });
    this.connect(isDistance);
    new ResizeObserver(() => this.frames.resize()).observe(canvas);
    document.body.classList.remove("starting");
  }

  connect(isDistance) {
    for (const button of document.querySelectorAll("[data-mode]")) button.onclick = () => this.setMode(button.dataset.mode);
    byId("turn").onclick = () => this.turn(!this.turning);
    byId("reset").onclick = () => this.reset();
    byId("backdrop").onclick = () => this.set(() => (this.isPlain = !this.isPlain));
    byId("picture").onclick = () => this.savePicture();
    byId("field").onclick = () => this.saveField();
    byId("more").onclick = () => this.unfold(!document.body.classList.contains("unfolded"));
    byId("cutting").hidden = !isDistance;
    byId("backdrop").hidden = isDistance;
    for (const button of document.querySelectorAll("[data-cut]")) button.onclick = () => this.set(() => (this.look.cut.way = Number(button.dataset.cut)));
    const [low, high] = this.field.scene.aabb;
    Object.assign(byId("height"), { min: low[2], max: high[2], step: (high[2] - low[2]) / 200, value: this.look.cut.height });
    byId("height").oninput = (event) => this.set(() => {
      this.look.cut.height = Number(event.target.value);
      if (!this.look.cut.way) this.look.cut.way = 1;
    });
    this.thumbnails = this.field.cameras.map((camera, index) => {
      const button = element("button", "", { title: `Training view ${index + 1}`, "aria-label": `Training view ${index + 1}` });
      const height = 60;
      const width = Math.min(Math.max(Math.round((height * camera.width) / camera.height), 30), 160);
      const picture = element("canvas", "");
      Object.assign(picture, { width, height });
      picture.style.width = `${width}px`;
      button.append(picture);
      button.onclick = () => this.jump(index);
      return { button, picture, isDrawn: false };
    });
    byId("strip").replaceChildren(...this.thumbnails.map((thumbnail) => thumbnail.button));
    byId("strip").hidden = this.thumbnails.length === 0;
    this.unfold(innerWidth > 900);
    this.mark();
  }

  /** Shows which controls are on. */
  mark() {
    const press = (button, isOn) => button.setAttribute("aria-pressed", String(isOn));
    for (const button of document.querySelectorAll("[data-mode]")) press(button, button.dataset.mode === this.look.mode);
    for (const button of document.querySelectorAll("[data-cut]")) press(button, Number(button.dataset.cut) === this.look.cut.way);
    press(byId("turn"), this.turning);
    press(byId("backdrop"), this.isPlain);
    this.thumbnails.forEach(({ button }, index) => press(button, index === this.current));
  }

  unfold(isOpen) {
    document.body.classList.toggle("unfolded", isOpen);
    byId("more").setAttribute("aria-expanded", String(isOpen));
    this.frames.change();
  }

  compose(width, height) {
    const camera = this.view.camera(width, height, this.margins());
    const { background } = this.field.scene;
    const isDark = document.body.classList.contains("dark");
    const soft = isDark ? [background.map((value) => value + 0.1), background] : [background, background.map((value, i) => value * [0.83, 0.86, 0.9][i])];
    return { camera, look: { ...this.look, cut: { ...this.look.cut } }, backdrop: this.isPlain ? [background, background] : soft };
  }

  /** Shares of the canvas that panels cover. */
  margins() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const about = byId("about").getBoundingClientRect();
    const isWide = innerWidth > 900;
    const isBeside = isWide && document.body.classList.contains("unfolded");
    return {
      top: isWide ? 0.05 : Math.min((about.top + byId("more").offsetHeight) / height, 0.25),
      bottom: Math.min((height - byId("tools").offsetTop) / height, 0.45),
      left: isBeside ? about.right / width : 0,
      right: 0,
    };
  }

  set(assign) {
    assign();
    this.mark();
    this.frames.change();
  }

  setMode(mode) {
    this.set(() => (this.look.mode = mode));
  }

  moved() {
    if (this.current >= 0 || this.turning) this.set(() => Object.assign(this, { current: -1, turning: false }));
    else this.frames.change();
  }

  reset() {
    this.view.moving = null;
    this.view.reset();
    this.set(() => Object.assign(this, { current: -1, turning: false }));
  }

  /** Glides to a training view; before the first comes the last. */
  jump(index) {
    const count = this.thumbnails.length;
    if (!count) return;
    this.set(() => {
      this.current = (index + count) % count;
      this.turning = false;
      if (this.field.kind === "distance") this.look.cut.way = 0;
    });
    this.thumbnails[this.current].button.scrollIntoView({ block: "nearest", inline: "center" });
    this.view.glide(this.field.cameras[this.current], performance.now());
    this.animate((now) => this.view.advance(now));
  }

  turn(isOn) {
    this.set(() => Object.assign(this, { turning: isOn, current: -1 }));
    let last = performance.now();
    if (isOn) this.animate((now) => {
      if (!this.turning) return false;
      this.view.orbit((now - last) * 4e-4, 0);
      last = now;
      return true;
    });
  }

  /** Calls step(now) before every picture until it returns false. */
  animate(step) {
    const next = (now) => {
      if (!step(now)) return;
      this.frames.change();
      requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  }

  /** Turns around what is seen at a place of the page. */
  async aim(x, y) {
    const box = this.canvas.getBoundingClientRect();
    const camera = this.view.camera(box.width, box.height, this.margins());
    const pixel = { ...camera, width: 1, height: 1, cx: camera.cx - (x - box.left) + 0.5, cy: camera.cy - (y - box.top) + 0.5 };
    const [depth, , , seen] = await renderCamera(this.drawing, this.field, pixel, { ...this.look, mode: "depth" });
    if (seen < 0.5) return;
    const [near, far] = depthRange(this.field, pixel);
    const local = [(0.5 - pixel.cx) / pixel.fx, (pixel.cy - 0.5) / pixel.fy, -1];
    const ahead = normalised(plus(plus(scaled(camera.right, local[0]), scaled(camera.up, local[1])), scaled(camera.back, -1)));
    this.view.target = plus(camera.origin, scaled(ahead, near + depth * (far - near)));
    const back = normalised(minus(camera.origin, this.view.target));
    const right = normalised(cross(camera.up, back));
    this.view.glide({ origin: camera.origin, right, up: cross(back, right), back, ...lensOf(this.view.lens) }, performance.now());
    const { target } = this.view;
    this.animate((now) => {
      const isMoving = this.view.advance(now);
      this.view.target = target;
      return isMoving;
    });
  }

  report({ width, height, milliseconds, multiplications, samples }) {
    const parts = [this.drawing.name, `${width} × ${height}`, `${milliseconds < 10 ? milliseconds.toFixed(1) : counted(milliseconds)} ms`];
    if (multiplications !== undefined) parts.push(`${short(multiplications)}MAC`, `${samples.toFixed(2)} samples per pixel`);
    byId("readout").textContent = parts.join(" · ");
  }

  async drawThumbnails(isWanted) {
    for (const thumbnail of this.thumbnails) {
      if (thumbnail.isDrawn) continue;
      if (!isWanted()) return;
      const camera = this.field.cameras[this.thumbnails.indexOf(thumbnail)];
      const { width, height } = thumbnail.picture;
      const [across, along] = [width / camera.width, height / camera.height];
      const small = { ...camera, width, height, fx: camera.fx * across, fy: camera.fy * along, cx: camera.cx * across, cy: camera.cy * along };
      const values = await renderCamera(this.drawing, this.field, small, { mode: "colour" });
      const image = new ImageData(width, height);
      for (let i = 0; i < values.length; i += 4) {
        for (let c = 0; c < 3; c++) image.data[i + c] = 255 * (values[i + c] + (1 - values[i + 3]) * this.field.scene.background[c]);
        image.data[i + 3] = 255;
      }
      thumbnail.picture.getContext("2d").putImageData(image, 0, 0);
      thumbnail.isDrawn = true;
    }
  }

  savePicture() {
    this.frames.present(); // canvases are cleared once they have been shown
    this.canvas.toBlob((blob) => blob && save(blob, `${fileName(this.field.scene.name)}.png`, "image/png"));
  }

  saveField() {
    save(this.bytes, `${fileName(this.field.scene.name)}.field`, "application/octet-stream");
  }
}

/** For the console: the page once it draws, and pictures in full precision, of cameras or training views by their number. */
globalThis.fieldPage = {
  page: null,
  ready: main().then((page) => (globalThis.fieldPage.page = page)),
  /** Resolves once the picture is in full resolution. */
  async settled() {
    const { frames, drawing } = await this.ready;
    while (!frames.isSettled && !drawing.isLost()) await pause(20);
  },
  /** The nearest and the farthest depth, which pictures of the mode depth have as 0 and 1. */
  depths(camera) {
    return depthRange(this.page.field, camera);
  },
  async render(camera, mode = "colour") {
    const { drawing, field } = await this.ready;
    return Array.from(await renderCamera(drawing, field, typeof camera === "number" ? field.cameras[camera] : camera, { mode }));
  },
};
globalThis.fieldPage.ready.catch(() => {}); // the page has told it
