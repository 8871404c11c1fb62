/* A CUDA runtime, driver and NVML without a device: memory is numbers.
 *
 * Enough of them that libc10_cuda.so, PyTorch's caching allocator, runs on any machine. Addresses
 * are handed out in ascending order and never read. FAKE_CUDA_TOTAL is the device's memory in
 * bytes, 80 GiB if it is not set. compare.py builds it as libcudart.so.13 and libnvidia-ml.so.1,
 * and adds the functions that the library only links against, which do nothing.
 */
#include <cuda.h>
#include <cuda_runtime_api.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1 << 20 };
static const uintptr_t ALIGNMENT = 2 << 20;

static size_t used;
static size_t segment_size[MOST]; /* by address / ALIGNMENT - FIRST, and by handle */
static size_t handle_size[MOST];
static const uintptr_t FIRST = 1 << 20;
static uintptr_t next_slot;

static size_t total(void) {
  const char *text = getenv("FAKE_CUDA_TOTAL");
  return text ? strtoull(text, NULL, 10) : (size_t)80 << 30;
}

/* -- runtime -- */

cudaError_t cudaMalloc(void **pointer, size_t size) {
  size_t slots = (size + ALIGNMENT - 1) / ALIGNMENT;
  if (used + size > total() || next_slot + slots > MOST) return cudaErrorMemoryAllocation;
  used += size;
  segment_size[next_slot] = size;
  *pointer = (void *)((FIRST + next_slot) * ALIGNMENT);
  next_slot += slots;
  return cudaSuccess;
}

cudaError_t cudaFree(void *pointer) {
  used -= segment_size[(uintptr_t)pointer / ALIGNMENT - FIRST];
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_size, size_t *total_size) {
  *total_size = total();
  *free_size = total() - used;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device) { return *device = 0, cudaSuccess; }
cudaError_t cudaGetDeviceCount(int *count) { return *count = 1, cudaSuccess; }
cudaError_t cudaDriverGetVersion(int *version) { return *version = 13000, cudaSuccess; }
const char *cudaGetErrorName(cudaError_t error) { return "fake"; }
const char *cudaGetErrorString(cudaError_t error) { return "fake"; }

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device) {
  memset(properties, 0, sizeof *properties);
  properties->totalGlobalMem = total();
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status) {
  return *status = cudaStreamCaptureStatusNone, cudaSuccess;
}

/* -- driver: what expandable segments need -- */

static CUresult reserve_addresses(CUdeviceptr *pointer, size_t size, size_t alignment,
                                  CUdeviceptr hint, unsigned long long flags) {
  static CUdeviceptr next = (CUdeviceptr)1 << 44;
  *pointer = next;
  next = (next + size + ((CUdeviceptr)1 << 30)) >> 30 << 30;
  return CUDA_SUCCESS;
}

static CUresult create(CUmemGenericAllocationHandle *handle, size_t size,
                       const CUmemAllocationProp *properties, unsigned long long flags) {
  static CUmemGenericAllocationHandle next;
  if (used + size > total() || next == MOST) return CUDA_ERROR_OUT_OF_MEMORY;
  used += size;
  handle_size[next] = size;
  *handle = next++;
  return CUDA_SUCCESS;
}

static CUresult release(CUmemGenericAllocationHandle handle) {
  used -= handle_size[handle];
  return CUDA_SUCCESS;
}

static CUresult attribute(int *value, int which, int device) { return *value = 0, CUDA_SUCCESS; }

static CUresult error_string(CUresult error, const char **text) {
  return *text = "fake", CUDA_SUCCESS;
}

static CUresult done(void) { return CUDA_SUCCESS; }

cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned version,
                                             unsigned long long flags,
                                             enum cudaDriverEntryPointQueryResult *result) {
  if (result) *result = cudaDriverEntryPointSuccess;
  if (!strcmp(name, "cuMemAddressReserve")) *function = reserve_addresses;
  else if (!strcmp(name, "cuMemCreate")) *function = create;
  else if (!strcmp(name, "cuMemRelease")) *function = release;
  else if (!strcmp(name, "cuDeviceGetAttribute")) *function = attribute;
  else if (!strcmp(name, "cuGetErrorString")) *function = error_string;
  else *function = done;
  return cudaSuccess;
}

/* -- NVML: no fabric, no other process -- */

int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetHandleByPciBusId_v2(void) { return 0; }
int nvmlDeviceGetGpuFabricInfoV(void) { return 0; }
int nvmlDeviceGetNvLinkRemoteDeviceType(void) { return 0; }
int nvmlDeviceGetNvLinkRemotePciInfo_v2(void) { return 0; }
int nvmlSystemGetCudaDriverVersion_v2(void) { return 0; }
int nvmlDeviceGetComputeRunningProcesses(void *device, unsigned *count) { return *count = 0, 0; }
