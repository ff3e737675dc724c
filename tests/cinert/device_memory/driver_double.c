/* An NVIDIA driver whose device memory is host memory: one GPU of compute capability 8.6, every copy done at once.
 *
 * The real cuda-core and pycuda run on it without a GPU, and so do our own calls: it answers 201 (invalid context) to
 * what is called while no context is current, records what is done while a stream is captured, and refuses streams
 * that are not non-blocking. CUDA_DOUBLE names this library, for lookups by name; -DINIT gives what cuInit answers.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef int R; typedef void *P; typedef unsigned long long U;
static __thread P context; static float now;
#ifndef INIT
#define INIT 0
#endif
R cuInit(unsigned f) { return INIT; }
R cuGetErrorName(R s, const char **n) { *n = "CUDA_ERROR_DOUBLE"; return 0; }
R cuGetErrorString(R s, const char **n) { *n = "the double refuses"; return 0; }
R cuDriverGetVersion(int *v) { *v = 13000; return 0; }
R cuDeviceGetCount(int *c) { *c = 1; return 0; }
R cuDeviceGet(int *d, int i) { *d = i; return i == 0 ? 0 : 101; }
R cuDeviceGetName(char *n, int s, int d) { strncpy(n, "Double RTX", s); return 0; }
R cuDeviceGetUuid_v2(unsigned char *u, int d) { for (int i = 0; i < 16; i++) u[i] = i; return 0; }
R cuDeviceGetUuid(unsigned char *u, int d) { for (int i = 0; i < 16; i++) u[i] = i; return 0; }
R cuDeviceTotalMem_v2(size_t *b, int d) { *b = (size_t)8 << 30; return 0; }
R cuDeviceGetAttribute(int *v, int a, int d) { *v = a == 75 ? 8 : a == 76 ? 6 : 1; return 0; }
R cuDevicePrimaryCtxRetain(P *c, int d) { *c = (P)0x51; return 0; }
R cuDevicePrimaryCtxRelease_v2(int d) { return 0; }
R cuCtxSetCurrent(P c) { context = c; return 0; }
R cuCtxGetCurrent(P *c) { *c = context; return 0; }
R cuCtxPushCurrent_v2(P c) { context = c; return 0; }
R cuCtxPopCurrent_v2(P *c) { if (c) *c = context; context = 0; return 0; }
R cuCtxGetDevice(int *d) { *d = 0; return context ? 0 : 201; }
R cuCtxGetDevice_v2(int *d, P c) { *d = 0; return 0; }
R cuCtxGetApiVersion(P c, unsigned *v) { *v = 3020; return 0; }
R cuCtxGetStreamPriorityRange(int *a, int *b) { *a = 0; *b = 0; return 0; }
R cuCtxSynchronize(void) { return 0; }
R cuDeviceGetMemPool(P *p, int d) { *p = (P)0x61; return 0; }
R cuDeviceGetDefaultMemPool(P *p, int d) { *p = (P)0x61; return 0; }
R cuMemGetDefaultMemPool(P *p, P l, int t) { *p = (P)0x61; return 0; }
R cuMemGetMemPool(P *p, P l, int t) { *p = (P)0x61; return 0; }
R cuMemPoolSetAttribute(P p, int a, P v) { return 0; }
R cuMemPoolGetAttribute(P p, int a, P v) { *(U *)v = 0; return 0; }
R cuMemPoolGetAccess(int *f, P p, P l) { *f = 3; return 0; }
static P fresh(size_t n) { if (!context) return 0; P p = malloc(n); memset(p, 0xff, n); return p; }
R cuMemAllocFromPoolAsync(U *p, size_t n, P pool, P s) { *p = (U)(uintptr_t)fresh(n); return *p ? 0 : 201; }
R cuMemAllocAsync(U *p, size_t n, P s) { *p = (U)(uintptr_t)fresh(n); return *p ? 0 : 201; }
R cuMemFreeAsync(U p, P s) { free((P)(uintptr_t)p); return 0; }
R cuMemAlloc_v2(U *p, size_t n) { *p = (U)(uintptr_t)fresh(n); return *p ? 0 : 201; }
R cuMemFree_v2(U p) { free((P)(uintptr_t)p); return 0; }
R cuMemAllocHost_v2(P *p, size_t n) { *p = fresh(n); return *p ? 0 : 201; }
R cuMemHostAlloc(P *p, size_t n, unsigned f) { *p = fresh(n); return *p ? 0 : 201; }
R cuMemFreeHost(P p) { free(p); return 0; }
R cuPointerGetAttribute(P v, int a, U p) { *(int *)v = 1; return 0; }
R cuPointerGetAttributes(unsigned n, int *a, P *v, U p) { for (unsigned i = 0; i < n; i++) *(int *)v[i] = a[i] == 2 ? 1 : a[i] == 8 ? 0 : 0; return 0; }
static P capturing; static int captured, begun, ended, launched, destroyed;
int counts(int which) { int all[] = {begun, ended, launched, destroyed}; return all[which]; }
struct copy { U d, s; size_t n; }; static struct copy copies[16];
static R copy(U d, U s, size_t n) {
  if (!context) return 201;
  if (capturing) { copies[captured].d = d; copies[captured].s = s; copies[captured++].n = n; return 0; }
  memcpy((P)(uintptr_t)d, (P)(uintptr_t)s, n); return 0; }
R cuMemcpyAsync(U d, U s, size_t n, P st) { return copy(d, s, n); }
R cuMemcpyHtoDAsync_v2(U d, const void *s, size_t n, P st) { return copy(d, (U)(uintptr_t)s, n); }
R cuMemcpyDtoHAsync_v2(void *d, U s, size_t n, P st) { return copy((U)(uintptr_t)d, s, n); }
R cuStreamCreateWithPriority(P *s, unsigned f, int p) { *s = (P)0x71; return f == 1 && context ? 0 : 1; }
R cuStreamCreate(P *s, unsigned f) { *s = (P)0x71; return f == 1 && context ? 0 : 1; }
R cuStreamGetCtx(P s, P *c) { *c = (P)0x51; return 0; }
R cuStreamGetFlags(P s, unsigned *f) { *f = 1; return 0; }
R cuStreamGetPriority(P s, int *p) { *p = 0; return 0; }
R cuStreamGetDevice(P s, int *d) { *d = 0; return 0; }
R cuStreamSynchronize(P s) { return context ? 0 : 201; }
R cuStreamDestroy_v2(P s) { return 0; }
R cuStreamIsCapturing(P s, int *c) { *c = capturing != 0; return 0; }
R cuStreamBeginCapture_v2(P s, int m) {
  begun++; if (!context || s == (P)13) return 201; capturing = s; captured = 0; return 0; }
R cuStreamEndCapture(P s, P *g) { ended++; capturing = 0; *g = (P)0x81; return 0; }
R cuGraphInstantiateWithFlags(P *e, P g, U f) { *e = (P)0x91; return 0; }
R cuGraphDestroy(P g) { return 0; }
R cuGraphLaunch(P e, P s) {
  launched++; if (!context) return 201; for (int i = 0; i < captured; i++) copy(copies[i].d, copies[i].s, copies[i].n); return 0; }
R cuGraphExecDestroy(P e) { destroyed++; return 0; }
R cuEventCreate(P *e, unsigned f) { *e = malloc(4); return 0; }
R cuEventRecord(P e, P s) { *(float *)e = ++now; return 0; }
R cuEventSynchronize(P e) { return 0; }
R cuEventQuery(P e) { return 0; }
R cuEventElapsedTime(float *t, P a, P b) { *t = *(float *)b - *(float *)a; return 0; }
R cuEventElapsedTime_v2(float *t, P a, P b) { *t = *(float *)b - *(float *)a; return 0; }
R cuEventDestroy_v2(P e) { free(e); return 0; }
R cuGetProcAddress_v2(const char *name, P *f, int version, U flags, int *status) {
  char other[128]; static P self; if (!self) self = dlopen(getenv("CUDA_DOUBLE"), RTLD_NOW);
  snprintf(other, sizeof other, "%s_v2", name);
  *f = dlsym(self, other); if (!*f) *f = dlsym(self, name);
  if (status) *status = *f ? 0 : 1; return *f ? 0 : 500; }
R cuCtxDetach(P c) { return 0; }
/* What pycuda is linked against and we never call: 801 is "not supported". */
#define NOT(name) R cu##name(void) { return 801; }
NOT(Array3DCreate_v2) NOT(Array3DGetDescriptor_v2) NOT(ArrayCreate_v2) NOT(ArrayDestroy) NOT(ArrayGetDescriptor_v2)
NOT(CtxAttach) NOT(CtxCreate_v4) NOT(CtxDisablePeerAccess) NOT(CtxEnablePeerAccess) NOT(CtxGetCacheConfig)
NOT(CtxGetLimit) NOT(CtxGetSharedMemConfig) NOT(CtxSetCacheConfig) NOT(CtxSetLimit) NOT(CtxSetSharedMemConfig)
NOT(DeviceCanAccessPeer) NOT(DeviceComputeCapability) NOT(DeviceGetByPCIBusId) NOT(DeviceGetPCIBusId)
NOT(FuncGetAttribute) NOT(FuncSetAttribute) NOT(FuncSetBlockShape) NOT(FuncSetCacheConfig) NOT(FuncSetSharedSize)
NOT(IpcCloseMemHandle) NOT(IpcGetEventHandle) NOT(IpcGetMemHandle) NOT(IpcOpenEventHandle) NOT(IpcOpenMemHandle_v2)
NOT(Launch) NOT(LaunchGrid) NOT(LaunchGridAsync) NOT(LaunchKernel) NOT(LinkAddData_v2) NOT(LinkAddFile_v2)
NOT(LinkComplete) NOT(LinkCreate_v2) NOT(LinkDestroy) NOT(MemAllocManaged) NOT(MemAllocPitch_v2)
NOT(MemGetAddressRange_v2) NOT(MemGetInfo_v2) NOT(MemHostGetDevicePointer_v2) NOT(MemHostGetFlags)
NOT(MemHostRegister_v2) NOT(MemHostUnregister) NOT(Memcpy2DAsync_v2) NOT(Memcpy2DUnaligned_v2) NOT(Memcpy2D_v2)
NOT(Memcpy3DAsync_v2) NOT(Memcpy3DPeer) NOT(Memcpy3DPeerAsync) NOT(Memcpy3D_v2) NOT(MemcpyAtoA_v2) NOT(MemcpyAtoD_v2)
NOT(MemcpyAtoH_v2) NOT(MemcpyDtoA_v2) NOT(MemcpyDtoDAsync_v2) NOT(MemcpyDtoD_v2) NOT(MemcpyDtoH_v2) NOT(MemcpyHtoA_v2)
NOT(MemcpyHtoD_v2) NOT(MemcpyPeer) NOT(MemcpyPeerAsync) NOT(MemsetD16Async) NOT(MemsetD16_v2) NOT(MemsetD2D16Async)
NOT(MemsetD2D16_v2) NOT(MemsetD2D32Async) NOT(MemsetD2D32_v2) NOT(MemsetD2D8Async) NOT(MemsetD2D8_v2)
NOT(MemsetD32Async) NOT(MemsetD32_v2) NOT(MemsetD8Async) NOT(MemsetD8_v2) NOT(ModuleGetFunction)
NOT(ModuleGetGlobal_v2) NOT(ModuleGetSurfRef) NOT(ModuleGetTexRef) NOT(ModuleLoad) NOT(ModuleLoadData)
NOT(ModuleLoadDataEx) NOT(ModuleUnload) NOT(ParamSetSize) NOT(ParamSetTexRef) NOT(ParamSetf) NOT(ParamSeti)
NOT(ParamSetv) NOT(ProfilerInitialize) NOT(ProfilerStart) NOT(ProfilerStop) NOT(StreamAttachMemAsync) NOT(StreamQuery)
NOT(StreamWaitEvent) NOT(SurfRefGetArray) NOT(SurfRefSetArray) NOT(TexRefCreate) NOT(TexRefDestroy)
NOT(TexRefGetAddressMode) NOT(TexRefGetAddress_v2) NOT(TexRefGetArray) NOT(TexRefGetFilterMode) NOT(TexRefGetFlags)
NOT(TexRefGetFormat) NOT(TexRefSetAddress2D_v3) NOT(TexRefSetAddressMode) NOT(TexRefSetAddress_v2) NOT(TexRefSetArray)
NOT(TexRefSetFilterMode) NOT(TexRefSetFlags) NOT(TexRefSetFormat)
