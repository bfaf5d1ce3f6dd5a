// CUDA's driver on the host, for the calls that runtime/cuda_python_device.py makes: it does what is queued at once, on
// host memory, refuses calls without a current context, and counts what is held. Compiled against cuda.h, so that what
// arrives here has the types of the real driver.
#define _GNU_SOURCE
#include <cuda.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(NAME) \
    do { \
        if (failing[0] && !strcmp(failing, #NAME)) return failure; \
        if (depth == 0) return CUDA_ERROR_INVALID_CONTEXT; \
    } while (0)

#define ROOM (1u << 30)

static char failing[64];
static CUresult failure;
static __thread int depth;
static _Atomic int held, retained;
static int capturing;
static struct copy { void* to; void const* from; size_t size; } captured[16];
static int capturedCount;

void recording_fail(char const* name, int code)
{
    snprintf(failing, sizeof failing, "%s", name);
    failure = (CUresult)code;
}
int recording_held(void) { return held; }
int recording_retained(void) { return retained; }
int recording_depth(void) { return depth; }

CUresult cuInit(unsigned flags)
{
    return !strcmp(failing, "cuInit") ? failure : flags ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}
CUresult cuDeviceGet(CUdevice* device, int ordinal)
{
    *device = ordinal;
    return ordinal ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}
CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device)
{
    if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
    *value = attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR ? 8
        : attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR    ? 7
                                                                       : -1;
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device)
{
    if (!strcmp(failing, "cuDevicePrimaryCtxRetain")) return failure;
    *context = (CUcontext)(size_t)(0x100 + device);
    ++retained;
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
    --retained;
    return device ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}
CUresult cuCtxPushCurrent_v2(CUcontext context)
{
    if (!strcmp(failing, "cuCtxPushCurrent")) return failure;
    if (context != (CUcontext)0x100 || !retained) return CUDA_ERROR_INVALID_CONTEXT;
    ++depth;
    return CUDA_SUCCESS;
}
CUresult cuCtxPopCurrent_v2(CUcontext* context)
{
    CHECK(cuCtxPopCurrent);
    *context = (CUcontext)0x100;
    --depth;
    return CUDA_SUCCESS;
}
CUresult cuCtxGetCurrent(CUcontext* context)
{
    *context = depth ? (CUcontext)0x100 : NULL;
    return CUDA_SUCCESS;
}
CUresult cuCtxGetDevice(CUdevice* device)
{
    CHECK(cuCtxGetDevice);
    *device = 0;
    return CUDA_SUCCESS;
}

CUresult cuMemAlloc_v2(CUdeviceptr* address, size_t size)
{
    CHECK(cuMemAlloc);
    if (size > ROOM) return CUDA_ERROR_OUT_OF_MEMORY;
    *address = (CUdeviceptr)malloc(size);
    ++held;
    return CUDA_SUCCESS;
}
CUresult cuMemFree_v2(CUdeviceptr address)
{
    CHECK(cuMemFree);
    free((void*)address);
    --held;
    return CUDA_SUCCESS;
}
CUresult cuMemAllocHost_v2(void** address, size_t size)
{
    CHECK(cuMemAllocHost);
    *address = malloc(size);
    ++held;
    return CUDA_SUCCESS;
}
CUresult cuMemFreeHost(void* address)
{
    CHECK(cuMemFreeHost);
    free(address);
    --held;
    return CUDA_SUCCESS;
}

static CUresult copy(void* to, void const* from, size_t size)
{
    if (capturing) captured[capturedCount++] = (struct copy){to, from, size};
    else memcpy(to, from, size);
    return CUDA_SUCCESS;
}
static CUresult create(void** handle) { *handle = malloc(1); ++held; return CUDA_SUCCESS; }
static CUresult destroy(void* handle) { free(handle); --held; return CUDA_SUCCESS; }

CUresult cuStreamCreate(CUstream* stream, unsigned flags)
{
    CHECK(cuStreamCreate);
    return flags == CU_STREAM_NON_BLOCKING ? create((void**)stream) : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuStreamDestroy_v2(CUstream stream) { CHECK(cuStreamDestroy); return destroy(stream); }
CUresult cuStreamSynchronize(CUstream stream)
{
    CHECK(cuStreamSynchronize);
    return stream && !capturing ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags)
{
    CHECK(cuStreamWaitEvent);
    return stream && event && !flags ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, void const* from, size_t size, CUstream stream)
{
    CHECK(cuMemcpyHtoDAsync);
    return stream ? copy((void*)to, from, size) : CUDA_ERROR_INVALID_HANDLE;
}
CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t size, CUstream stream)
{
    CHECK(cuMemcpyDtoHAsync);
    return stream ? copy(to, (void*)from, size) : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuEventCreate(CUevent* event, unsigned flags)
{
    CHECK(cuEventCreate);
    // Who waits for an event of another kind spins on a core.
    return (flags & ~CU_EVENT_DISABLE_TIMING) == CU_EVENT_BLOCKING_SYNC ? create((void**)event) : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuEventDestroy_v2(CUevent event) { CHECK(cuEventDestroy); return destroy(event); }
CUresult cuEventRecord(CUevent event, CUstream stream)
{
    CHECK(cuEventRecord);
    return event && stream ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
CUresult cuEventSynchronize(CUevent event)
{
    CHECK(cuEventSynchronize);
    return event ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}
CUresult cuEventElapsedTime_v2(float* milliseconds, CUevent start, CUevent end)
{
    CHECK(cuEventElapsedTime);
    *milliseconds = 250;
    return start && end ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode mode)
{
    CHECK(cuStreamBeginCapture);
    if (!stream || mode != CU_STREAM_CAPTURE_MODE_THREAD_LOCAL || capturing) return CUDA_ERROR_ILLEGAL_STATE;
    capturing = 1;
    capturedCount = 0;
    return CUDA_SUCCESS;
}
CUresult cuStreamEndCapture(CUstream stream, CUgraph* graph)
{
    if (!stream || !capturing) return CUDA_ERROR_ILLEGAL_STATE;
    capturing = 0;
    *graph = NULL;
    CHECK(cuStreamEndCapture);
    return create((void**)graph);
}
CUresult cuGraphInstantiateWithFlags(CUgraphExec* exec, CUgraph graph, unsigned long long flags)
{
    CHECK(cuGraphInstantiate);
    return graph && !flags ? create((void**)exec) : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuGraphDestroy(CUgraph graph) { CHECK(cuGraphDestroy); return destroy(graph); }
CUresult cuGraphExecDestroy(CUgraphExec exec) { CHECK(cuGraphExecDestroy); return destroy(exec); }
CUresult cuGraphLaunch(CUgraphExec exec, CUstream stream)
{
    CHECK(cuGraphLaunch);
    if (!exec || !stream) return CUDA_ERROR_INVALID_HANDLE;
    for (int number = 0; number < capturedCount; ++number)
        memcpy(captured[number].to, captured[number].from, captured[number].size);
    return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, char const** text)
{
    *text = error == CUDA_ERROR_OUT_OF_MEMORY ? "out of memory" : "some error";
    return CUDA_SUCCESS;
}
CUresult cuGetErrorName(CUresult error, char const** text)
{
    *text = "NAME";
    return error ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuDriverGetVersion(int* version) { *version = CUDA_VERSION; return CUDA_SUCCESS; }

CUresult cuGetProcAddress_v2(
    char const* name, void** function, int version, cuuint64_t flags, CUdriverProcAddressQueryResult* result)
{
    (void)version, (void)flags;
    static char const* const suffixes[] = {"_v3", "_v2", "", "WithFlags"};
    Dl_info own;
    dladdr((void*)recording_held, &own);
    void* library = dlopen(own.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
    *function = NULL;
    for (size_t each = 0; each < sizeof suffixes / sizeof *suffixes && !*function; ++each) {
        char symbol[128];
        snprintf(symbol, sizeof symbol, "%s%s", name, suffixes[each]);
        *function = dlsym(library, symbol);
    }
    if (result) *result = *function ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return *function ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
