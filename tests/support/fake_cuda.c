/* What torch's CUDA build asks of CUDA's two libraries before it computes anything: there is one device, it is idle, and
   whatever is asked of its streams and events has been done. Preloaded, so that these answers are found first. */

#define SUCCESS return 0

int cudaGetDeviceCount(int *count) { *count = 1; SUCCESS; }
int cudaGetDevice(int *device) { *device = 0; SUCCESS; }
int cudaSetDevice(int device) { SUCCESS; }
int cudaGetLastError(void) { SUCCESS; }
int cudaPeekAtLastError(void) { SUCCESS; }
int cudaDriverGetVersion(int *version) { *version = 13000; SUCCESS; }
int cudaRuntimeGetVersion(int *version) { *version = 13000; SUCCESS; }
int cudaDeviceSynchronize(void) { SUCCESS; }
int cudaFree(void *memory) { SUCCESS; }

int cudaDeviceGetStreamPriorityRange(int *least, int *greatest) { *least = 0; *greatest = -5; SUCCESS; }
int cudaStreamCreateWithPriority(void **stream, unsigned flags, int priority) {
    static long number = 0;
    *stream = (void *)++number;
    SUCCESS;
}
int cudaStreamQuery(void *stream) { SUCCESS; }
int cudaStreamSynchronize(void *stream) { SUCCESS; }
int cudaStreamWaitEvent(void *stream, void *event, unsigned flags) { SUCCESS; }
int cudaStreamIsCapturing(void *stream, int *capturing) { *capturing = 0; SUCCESS; }
int cudaStreamGetCaptureInfo(void *stream, int *capturing) { *capturing = 0; SUCCESS; }

int cudaEventCreate(void **event) { *event = (void *)1; SUCCESS; }
int cudaEventCreateWithFlags(void **event, unsigned flags) { *event = (void *)1; SUCCESS; }
int cudaEventRecord(void *event, void *stream) { SUCCESS; }
int cudaEventRecordWithFlags(void *event, void *stream, unsigned flags) { SUCCESS; }
int cudaEventQuery(void *event) { SUCCESS; }
int cudaEventSynchronize(void *event) { SUCCESS; }
int cudaEventDestroy(void *event) { SUCCESS; }

int cuInit(unsigned flags) { SUCCESS; }
int cuDriverGetVersion(int *version) { *version = 13000; SUCCESS; }
int cuDeviceGetCount(int *count) { *count = 1; SUCCESS; }
int cuCtxGetCurrent(void **context) { *context = (void *)1; SUCCESS; }
int cuCtxGetDevice(int *device) { *device = 0; SUCCESS; }
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) { *flags = 0; *active = 1; SUCCESS; }
