// Pictures one after the other: coarse while something moves, then finer and finer. No draw takes longer than a fraction
// of a second: drivers stop pages that keep them, and the page answers between draws.

const MOVING_MILLISECONDS = 60;
const TILE_MILLISECONDS = 40;
const FIRST_GUESS = 8; // pixels a millisecond, of a slow machine
const MOST_PIXELS = 2.2e6;

class Frames {
  /**
   * compose(width, height) gives { camera, look, backdrop } of the moment; progress(share) and finished(facts) are told how
   * far a picture is and, once it is in full resolution, what it took; idle(isWanted) may draw more until it is wanted;
   * failed(error) hears of what ended the drawing.
   */
  constructor(drawing, canvas, field, { compose, progress, finished, idle, failed }) {
    Object.assign(this, { drawing, canvas, field, compose, progress, finished, idle });
    this.speed = FIRST_GUESS;
    this.version = 0;
    this.shown = null;
    this.isSettled = false;
    this.wake = () => {};
    this.loop().catch(failed);
  }

  /** Something has changed. */
  change() {
    this.version += 1;
    this.isSettled = false;
    this.wake();
  }

  /** Fits the canvas to its place in the page. */
  resize() {
    const { clientWidth, clientHeight } = this.canvas;
    let scale = Math.min(globalThis.devicePixelRatio || 1, 2);
    scale = Math.min(scale, Math.sqrt(MOST_PIXELS / Math.max(clientWidth * clientHeight, 1)));
    this.canvas.width = Math.max(1, Math.round(clientWidth * scale));
    this.canvas.height = Math.max(1, Math.round(clientHeight * scale));
    this.present();
    this.change();
  }

  async loop() {
    for (;;) {
      if (this.isSettled || this.version === 0) await new Promise((resolve) => (this.wake = resolve));
      if (this.drawing.isLost()) return;
      await this.refine();
    }
  }

  /** Draws what is to be seen now, and finer until it is fine enough or something changes. */
  async refine() {
    const version = this.version;
    const isWanted = () => this.version === version && !this.drawing.isLost();
    const pixels = this.canvas.width * this.canvas.height;
    let scale = Math.max(Math.sqrt((MOVING_MILLISECONDS * this.speed) / pixels), 24 / this.canvas.height);
    for (let isFirst = true; ; isFirst = false) {
      if (scale > 0.7) scale = 1;
      const facts = await this.draw(scale, isFirst ? () => !this.drawing.isLost() : isWanted, isFirst);
      if (!facts || !isWanted()) return;
      if (scale === 1) {
        this.progress(1);
        await this.finished({ ...facts, ...(await this.work()) });
        await this.idle(isWanted);
        if (isWanted()) this.isSettled = true;
        return;
      }
      scale *= 2;
    }
  }

  /** Draws one picture, rows by rows; its facts, or null where it was given up. */
  async draw(scale, isWanted, isFirst) {
    const [width, height] = [this.canvas.width, this.canvas.height].map((side) => Math.max(1, Math.round(side * scale)));
    const { camera, look, backdrop } = this.compose(width, height);
    const target = this.drawing.makeTarget(width, height);
    const params = fieldParams(this.field, camera, look);
    const start = performance.now();
    for (let row = 0; row < height; ) {
      const budget = isFirst ? 2 * MOVING_MILLISECONDS : TILE_MILLISECONDS;
      const end = Math.min(height, row + Math.max(1, Math.floor((budget * this.speed) / width)));
      const before = performance.now();
      this.drawing.draw(target, params, row, end);
      await this.drawing.done();
      const speed = (width * (end - row)) / Math.max(performance.now() - before, 0.5);
      this.speed = Math.min(0.7 * this.speed + 0.3 * speed, 3 * this.speed);
      row = end;
      if (!isWanted()) {
        this.drawing.freeTarget(target);
        return null;
      }
      if (!isFirst) this.progress(row / height);
    }
    if (this.shown) this.drawing.freeTarget(this.shown.target);
    this.shown = { target, look, backdrop };
    this.present();
    return { width, height, milliseconds: performance.now() - start };
  }

  present() {
    if (!this.shown || this.drawing.isLost()) return;
    const { target, look, backdrop } = this.shown;
    this.drawing.present(target, presentParams(look, target, this.canvas, backdrop));
  }

  /** Multiplications of the whole picture and samples a pixel, from a small one. */
  async work() {
    const height = Math.min(48, this.canvas.height);
    const width = Math.max(1, Math.round((this.canvas.width * height) / this.canvas.height));
    if (!this.drawing.isFloat) return {};
    const { camera, look } = this.compose(width, height);
    const values = await renderCamera(this.drawing, this.field, camera, { ...look, mode: "work" });
    let [samples, colored] = [0, 0];
    for (let i = 0; i < values.length; i += 4) {
      samples += values[i];
      colored += values[i + 1];
    }
    const [each, more] = this.field.shader.multiplications;
    const pixels = this.canvas.width * this.canvas.height;
    return { multiplications: ((samples * each + colored * more) / (width * height)) * pixels, samples: samples / (width * height) };
  }
}
