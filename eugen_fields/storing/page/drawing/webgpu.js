// Drawing by WebGPU, with the methods of WebGLDrawing.

class WebGPUDrawing {
  static async create(canvas, shader, grid, takesSoftware) {
    const adapter = navigator.gpu && (await navigator.gpu.requestAdapter({ powerPreference: "high-performance" }));
    if (!adapter) throw new Error("no WebGPU");
    const isSoftware = adapter.isFallbackAdapter || (adapter.info && adapter.info.isFallbackAdapter);
    if (isSoftware && !takesSoftware) throw new Error("WebGPU draws in software here, and WebGL2 may not");
    const device = await adapter.requestDevice();
    const drawing = new WebGPUDrawing(device, canvas);
    device.lost.then(() => {
      drawing.isGone = true;
      drawing.lost();
    });
    await drawing.prepare(shader, grid);
    return drawing;
  }

  constructor(device, canvas) {
    Object.assign(this, { device, canvas, name: "WebGPU", isFloat: true, isGone: false, lost: () => {}, isLost: () => this.isGone });
    this.context = canvas.getContext("webgpu");
    this.format = navigator.gpu.getPreferredCanvasFormat();
    this.context.configure({ device, format: this.format, alphaMode: "opaque" });
  }

  async prepare(shader, grid) {
    const { device } = this;
    const { resolution: r, gaps } = grid || { resolution: 1, gaps: new Uint8Array(1) };
    const weights = device.createBuffer({ size: 4 * shader.weights.numbers.length, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST });
    device.queue.writeBuffer(weights, 0, Float32Array.from(shader.weights.numbers));
    const usage = GPUTextureUsage.TEXTURE_BINDING | GPUTextureUsage.COPY_DST;
    const cells = device.createTexture({ size: [r, r, r], dimension: "3d", format: "r8uint", usage });
    device.queue.writeTexture({ texture: cells }, gaps, { bytesPerRow: r, rowsPerImage: r }, [r, r, r]);
    const texels = shader.texels || new Int8Array(4);
    const across = Math.min(TEXELS_ACROSS, texels.length / 4);
    const size = [across, texels.length / 4 / across];
    const planes = device.createTexture({ size, format: "rgba8sint", usage });
    device.queue.writeTexture({ texture: planes }, texels, { bytesPerRow: 4 * across }, size);
    this.field = await this.pass(wgslModule(shader.code, "field"), "rgba32float", [
      { buffer: { type: "read-only-storage" } },
      { texture: { sampleType: "uint", viewDimension: "3d" } },
      { texture: { sampleType: "sint" } },
    ]);
    this.field.group = this.group(this.field, [{ buffer: weights }, cells.createView(), planes.createView()]);
    const picture = { texture: { sampleType: "unfilterable-float" } };
    this.presentation = await this.pass(wgslModule(PRESENT_CODE, "picture"), this.format, [picture]);
  }

  async pass(code, format, reads) {
    const { device } = this;
    const entries = [{ buffer: { type: "uniform" } }, ...reads].map((read, binding) => ({ binding, visibility: GPUShaderStage.FRAGMENT, ...read }));
    const layout = device.createBindGroupLayout({ entries });
    const module = device.createShaderModule({ code });
    const params = device.createBuffer({ size: 16 * PARAMS, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST });
    const pipeline = await device.createRenderPipelineAsync({
      layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      vertex: { module, entryPoint: "triangle" },
      fragment: { module, entryPoint: "main", targets: [{ format }] },
    });
    return { pipeline, layout, params };
  }

  group({ layout, params }, resources) {
    const entries = [{ buffer: params }, ...resources].map((resource, binding) => ({ binding, resource }));
    return this.device.createBindGroup({ layout, entries });
  }

  makeTarget(width, height) {
    const usage = GPUTextureUsage.RENDER_ATTACHMENT | GPUTextureUsage.TEXTURE_BINDING | GPUTextureUsage.COPY_SRC;
    const texture = this.device.createTexture({ size: [width, height], format: "rgba32float", usage });
    const view = texture.createView();
    return { texture, view, group: this.group(this.presentation, [view]), width, height };
  }

  freeTarget(target) {
    target.texture.destroy();
  }

  run({ pipeline, params: buffer }, group, view, params, rows) {
    const { device } = this;
    device.queue.writeBuffer(buffer, 0, params);
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginRenderPass({ colorAttachments: [{ view, loadOp: rows ? "load" : "clear", storeOp: "store" }] });
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    if (rows) pass.setScissorRect(...rows);
    pass.draw(3);
    pass.end();
    device.queue.submit([encoder.finish()]);
  }

  draw(target, params, firstRow, endRow) {
    this.run(this.field, this.field.group, target.view, params, [0, firstRow, target.width, endRow - firstRow]);
  }

  present(target, params) {
    this.run(this.presentation, target.group, this.context.getCurrentTexture().createView(), params, null);
  }

  done() {
    return this.device.queue.onSubmittedWorkDone();
  }

  async read({ texture, width, height }) {
    const { device } = this;
    const bytesPerRow = Math.ceil((16 * width) / 256) * 256;
    const buffer = device.createBuffer({ size: bytesPerRow * height, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
    const encoder = device.createCommandEncoder();
    encoder.copyTextureToBuffer({ texture }, { buffer, bytesPerRow }, [width, height]);
    device.queue.submit([encoder.finish()]);
    await buffer.mapAsync(GPUMapMode.READ);
    const padded = new Float32Array(buffer.getMappedRange());
    const values = new Float32Array(4 * width * height);
    for (let y = 0; y < height; y++) {
      values.set(padded.subarray((y * bytesPerRow) / 4, (y * bytesPerRow) / 4 + 4 * width), 4 * width * y);
    }
    buffer.destroy();
    return values;
  }
}
