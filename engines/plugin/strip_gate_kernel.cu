#include "strip_gate_kernel.cuh"

#include <cuda_runtime.h>

namespace lgeu {
namespace {

template <typename T>
__global__ void __launch_bounds__(kThreadsPerBlock) strip_gate_kernel(StripGateShape shape, T const* __restrict__ x,
    T const* __restrict__ w1, T const* __restrict__ w2, T* __restrict__ y, float* workspace) {
    extern __shared__ float shared[];
    float* const scratch
        = workspace == nullptr ? shared : workspace + static_cast<int64_t>(blockIdx.x) * shape.scratch_floats();
    strip_gate_image<T>(shape, x, w1, w2, y, scratch);
}

}  // namespace

char const* launch_strip_gate(StripGateShape const& shape, ElementType type, void const* x, void const* w1,
    void const* w2, void* y, void* workspace, CUstream_st* stream) {
    if (shape.images == 0) {
        return nullptr;
    }
    bool const shared = shape.fits_shared_memory();
    StripGateShape by_value = shape;
    float* scratch = shared ? nullptr : static_cast<float*>(workspace);
    void* arguments[] = {&by_value, &x, &w1, &w2, &y, &scratch};
    void const* const kernel = type == ElementType::kHalf
        ? reinterpret_cast<void const*>(&strip_gate_kernel<__half>)
        : reinterpret_cast<void const*>(&strip_gate_kernel<float>);
    cudaError_t const status = cudaLaunchKernel(kernel, dim3(static_cast<unsigned>(shape.images)),
        dim3(kThreadsPerBlock), arguments, shared ? shape.scratch_bytes() : 0, stream);
    return status == cudaSuccess ? nullptr : cudaGetErrorString(status);
}

}  // namespace lgeu
