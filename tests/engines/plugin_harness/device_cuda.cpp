#include "device.h"

#include <cuda_runtime_api.h>

#include <stdexcept>

namespace device {
namespace {

void check(cudaError_t status, char const* what) {
    if (status != cudaSuccess) {
        throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
    }
}

}  // namespace

std::string name() {
    int current = 0;
    cudaDeviceProp properties{};
    check(cudaGetDevice(&current), "no GPU");
    check(cudaGetDeviceProperties(&properties, current), "no GPU");
    return properties.name;
}

void* allocate(size_t bytes) {
    void* address = nullptr;
    check(cudaMalloc(&address, bytes), "cudaMalloc");
    return address;
}

void release(void* address) noexcept { cudaFree(address); }

Stream create_stream() {
    cudaStream_t stream = nullptr;
    // Not ordered with the default stream, so that two of them may run at once.
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
    return stream;
}

void destroy_stream(Stream stream) noexcept { cudaStreamDestroy(stream); }

void upload(void* to, void const* from, size_t bytes, Stream stream) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream), "copy to the GPU");
}

void download(void* to, void const* from, size_t bytes, Stream stream) {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream), "copy from the GPU");
}

void fill(void* address, unsigned char byte, size_t bytes, Stream stream) {
    check(cudaMemsetAsync(address, byte, bytes, stream), "cudaMemsetAsync");
}

void synchronise(Stream stream) { check(cudaStreamSynchronize(stream), "the kernel"); }

void begin_capture(Stream stream) {
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
}

void* end_capture(Stream stream) {
    cudaGraph_t graph = nullptr;
    check(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
    cudaGraphExec_t executable = nullptr;
    cudaError_t const status = cudaGraphInstantiate(&executable, graph, 0);
    cudaGraphDestroy(graph);
    check(status, "cudaGraphInstantiate");
    return executable;
}

void replay(void* graph, Stream stream) {
    check(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), stream), "cudaGraphLaunch");
}

void release_graph(void* graph) noexcept { cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)); }

}  // namespace device
