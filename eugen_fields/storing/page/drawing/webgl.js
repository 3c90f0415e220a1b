// Drawing by WebGL2.

class WebGLDrawing {
  /** Throws where the browser has no WebGL2, or its driver cannot compile the shader. */
  static async create(canvas, shader, grid) {
    const gl = canvas.getContext("webgl2", { alpha: false, antialias: false, depth: false, powerPreference: "high-performance" });
    if (!gl) throw new Error("no WebGL2");
    const drawing = new WebGLDrawing(gl);
    const reported = new Promise((_, reject) => (drawing.reject = reject));
    canvas.addEventListener("webglcontextlost", (event) => {
      event.preventDefault();
      drawing.lost();
      drawing.reject(new Error("the context was lost"));
    });
    reported.catch(() => {});
    await Promise.race([reported, drawing.prepare(shader, grid)]);
    return drawing;
  }

  constructor(gl) {
    Object.assign(this, { gl, name: "WebGL2", lost: () => {}, isLost: () => gl.isContextLost() });
    this.isFloat = gl.getExtension("EXT_color_buffer_float") !== null;
    this.buffer = gl.createFramebuffer();
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
  }

  async prepare(shader, grid) {
    const { gl } = this;
    const [field, present] = [glslFragment(shader.code, "field"), glslFragment(PRESENT_CODE, "picture")].map((text) => this.start(text));
    const height = Math.ceil(shader.weights.length / 1024);
    const numbers = new Float32Array(4 * 1024 * height);
    numbers.set(shader.weights.numbers);
    this.bind(0, gl.TEXTURE_2D);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA32F, 1024, height, 0, gl.RGBA, gl.FLOAT, numbers);
    const { resolution: r, gaps } = grid || { resolution: 1, gaps: new Uint8Array(1) };
    this.bind(1, gl.TEXTURE_3D);
    gl.texImage3D(gl.TEXTURE_3D, 0, gl.R8UI, r, r, r, 0, gl.RED_INTEGER, gl.UNSIGNED_BYTE, gaps);
    const texels = shader.texels || new Int8Array(4);
    const across = Math.min(TEXELS_ACROSS, texels.length / 4);
    this.bind(2, gl.TEXTURE_2D);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8I, across, texels.length / 4 / across, 0, gl.RGBA_INTEGER, gl.BYTE, texels);
    this.field = await this.finish(field, { weights: 0, gaps: 1, texels: 2 });
    this.presentation = await this.finish(present, { picture: 3 });
  }

  bind(unit, kind) {
    const { gl } = this;
    const texture = gl.createTexture();
    gl.activeTexture(gl.TEXTURE0 + unit);
    gl.bindTexture(kind, texture);
    gl.texParameteri(kind, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(kind, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
    return texture;
  }

  /** Begins to compile a program; the driver may do so beside the page. */
  start(fragment) {
    const { gl } = this;
    const program = gl.createProgram();
    const shaders = [[gl.VERTEX_SHADER, GLSL_VERTEX], [gl.FRAGMENT_SHADER, fragment]].map(([kind, text]) => {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
      return shader;
    });
    gl.linkProgram(program);
    return { program, shaders };
  }

  async finish({ program, shaders }, units) {
    const { gl } = this;
    const parallel = gl.getExtension("KHR_parallel_shader_compile");
    while (parallel && !gl.isContextLost() && !gl.getProgramParameter(program, parallel.COMPLETION_STATUS_KHR)) await pause(10);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) {
      throw new Error(shaders.map((shader) => gl.getShaderInfoLog(shader)).join("") + gl.getProgramInfoLog(program));
    }
    gl.useProgram(program);
    for (const name in units) gl.uniform1i(gl.getUniformLocation(program, name), units[name]);
    return { program, params: gl.getUniformLocation(program, "params") };
  }

  makeTarget(width, height) {
    const { gl } = this;
    const texture = this.bind(3, gl.TEXTURE_2D);
    gl.texStorage2D(gl.TEXTURE_2D, 1, this.isFloat ? gl.RGBA32F : gl.RGBA8, width, height);
    return { texture, width, height };
  }

  freeTarget(target) {
    this.gl.deleteTexture(target.texture);
  }

  aim(target) {
    const { gl } = this;
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.buffer);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, target.texture, 0);
  }

  run({ program, params: place }, params, width, height) {
    const { gl } = this;
    gl.useProgram(program);
    gl.uniform4fv(place, params);
    gl.viewport(0, 0, width, height);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  /** Draws some rows of a target. */
  draw(target, params, firstRow, endRow) {
    const { gl } = this;
    this.aim(target);
    gl.enable(gl.SCISSOR_TEST);
    gl.scissor(0, firstRow, target.width, endRow - firstRow);
    this.run(this.field, params, target.width, target.height);
    gl.disable(gl.SCISSOR_TEST);
  }

  /** Draws a target to the canvas. */
  present(target, params) {
    const { gl } = this;
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.activeTexture(gl.TEXTURE3);
    gl.bindTexture(gl.TEXTURE_2D, target.texture);
    params[3] = 1; // WebGL counts the rows of a canvas from below
    this.run(this.presentation, params, gl.canvas.width, gl.canvas.height);
  }

  /** Resolves once everything is drawn. */
  async done() {
    const { gl } = this;
    const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0);
    gl.flush();
    while (!gl.isContextLost() && gl.getSyncParameter(fence, gl.SYNC_STATUS) !== gl.SIGNALED) await pause(1);
    gl.deleteSync(fence);
  }

  /** The numbers of a target, four a pixel, rows from above. */
  async read({ width, height, ...target }) {
    const { gl } = this;
    this.aim(target);
    const values = this.isFloat ? new Float32Array(4 * width * height) : new Uint8Array(4 * width * height);
    gl.readPixels(0, 0, width, height, gl.RGBA, this.isFloat ? gl.FLOAT : gl.UNSIGNED_BYTE, values);
    return this.isFloat ? values : Float32Array.from(values, (value) => value / 255);
  }
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
