#include "strip_gate_kernel.cuh"

#include <cuda_runtime.h>

namespace lgeu {
namespace {

constexpr size_t kSharedBytes = 48 * 1024;

template <typename T, typename W>
__global__ void __launch_bounds__(kThreadsPerBlock) strip_gate_kernel(StripGateShape shape, T const* __restrict__ x,
    W const* __restrict__ w1, W const* __restrict__ w2, T* __restrict__ y, float* workspace) {
    extern __shared__ float shared[];
    float* const scratch
        = workspace == nullptr ? shared : workspace + static_cast<int64_t>(blockIdx.x) * scratch_floats(shape);
    strip_gate_image(shape, x, w1, w2, y, scratch);
}

template <typename T, typename W>
void const* address() {
    return reinterpret_cast<void const*>(&strip_gate_kernel<T, W>);
}

void const* kernel_for(StripGateTypes const& types) {
    bool const half_weights = types.weights == ElementType::kHalf;
    if (types.x == ElementType::kHalf) {
        return half_weights ? address<__half, __half>() : address<__half, float>();
    }
    return half_weights ? address<float, __half>() : address<float, float>();
}

}  // namespace

char const* launch_strip_gate(StripGateShape const& shape, StripGateTypes const& types, void const* x, void const* w1,
    void const* w2, void* y, void* workspace, CUstream_st* stream) {
    if (shape.images == 0) {
        return nullptr;
    }
    size_t const bytes = sizeof(float) * static_cast<size_t>(scratch_floats(shape));
    bool const shared = bytes <= kSharedBytes;
    StripGateShape by_value = shape;
    float* scratch = shared ? nullptr : static_cast<float*>(workspace);
    void* arguments[] = {&by_value, &x, &w1, &w2, &y, &scratch};
    cudaError_t const status = cudaLaunchKernel(kernel_for(types), dim3(static_cast<unsigned>(shape.images)),
        dim3(kThreadsPerBlock), arguments, shared ? bytes : 0, stream);
    return status == cudaSuccess ? nullptr : cudaGetErrorString(status);
}

}  // namespace lgeu
