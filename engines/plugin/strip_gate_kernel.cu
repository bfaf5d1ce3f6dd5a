#include "strip_gate_kernel.cuh"
#include "strip_gate_launch.h"

#include <cuda_runtime.h>

namespace lgeu {
namespace {

// 128 registers a thread, and two blocks on a multiprocessor.
constexpr int kResidentBlocks = 2;
constexpr int kArchitectureWithClusters = 90;

template <int kImages, typename X, typename W>
__global__ void __launch_bounds__(kMaxThreads, kResidentBlocks)
    squeeze_kernel(__grid_constant__ StripGateProblem<X, W> const problem) {
    extern __shared__ __align__(32) float shared[];
    squeeze_block<kImages>(problem, shared);
}

template <int kImages, typename X, typename W>
__global__ void __launch_bounds__(kMaxThreads, kResidentBlocks)
    excite_kernel(__grid_constant__ StripGateProblem<X, W> const problem) {
    extern __shared__ __align__(32) float shared[];
    excite_block<kImages>(problem, shared);
}

template <typename X, typename W>
cudaError_t launch(void (*kernel)(StripGateProblem<X, W>), StripGateProblem<X, W> const& problem, size_t shared_bytes,
    bool cluster, CUstream_st* stream) {
    StripGatePlan const& plan = problem.plan;
    cudaLaunchAttribute attribute{};
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = static_cast<unsigned>(plan.slices);
    attribute.val.clusterDim.y = 1;
    attribute.val.clusterDim.z = 1;
    cudaLaunchConfig_t configuration{};
    configuration.gridDim = dim3(static_cast<unsigned>(plan.slices), static_cast<unsigned>(plan.tiles_at_once));
    configuration.blockDim = dim3(static_cast<unsigned>(plan.threads));
    configuration.dynamicSmemBytes = shared_bytes;
    configuration.stream = stream;
    configuration.attrs = &attribute;
    configuration.numAttrs = cluster ? 1 : 0;
    return cudaLaunchKernelEx(&configuration, kernel, problem);
}

template <int kImages, typename X, typename W>
cudaError_t launch_tiles_of(StripGateProblem<X, W> const& problem, CUstream_st* stream) {
    StripGateShape const& shape = problem.shape;
    StripGatePlan const& plan = problem.plan;
    bool const fused = plan.method == StripGateMethod::kFused;
    cudaError_t const status = launch(squeeze_kernel<kImages, X, W>, problem, squeeze_shared_bytes(shape, plan),
        fused && plan.slices > 1, stream);
    return fused || status != cudaSuccess
        ? status
        : launch(excite_kernel<kImages, X, W>, problem, excite_shared_bytes(shape, plan), false, stream);
}

template <typename X, typename W>
cudaError_t launch_types(StripGateShape const& shape, StripGatePlan const& plan, void const* x, void const* w1,
    void const* w2, void* y, void* workspace, CUstream_st* stream) {
    StripGateProblem<X, W> const problem{shape, plan, static_cast<X const*>(x), static_cast<W const*>(w1),
        static_cast<W const*>(w2), static_cast<X*>(y), static_cast<float*>(workspace)};
    return plan.tile_images % kImagesTogether == 0 ? launch_tiles_of<kImagesTogether>(problem, stream)
                                                   : launch_tiles_of<1>(problem, stream);
}

// The largest cluster of blocks that have all the threads and shared memory that a plan may give them. Code for an older
// architecture, translated for this GPU, has no cluster instructions.
cudaError_t find_largest_cluster(int& blocks) {
    auto* const kernel = squeeze_kernel<1, float, float>;
    cudaFuncAttributes attributes{};
    cudaError_t const status = cudaFuncGetAttributes(&attributes, kernel);
    if (status != cudaSuccess || attributes.ptxVersion < kArchitectureWithClusters) {
        return status;
    }
    cudaLaunchConfig_t configuration{};
    configuration.gridDim = dim3(kSlicesInCluster);
    configuration.blockDim = dim3(kMaxThreads);
    configuration.dynamicSmemBytes = kSharedBytes;
    return cudaOccupancyMaxPotentialClusterSize(&blocks, kernel, &configuration);
}

char const* description(cudaError_t status) { return status == cudaSuccess ? nullptr : cudaGetErrorString(status); }

}  // namespace

char const* describe_device(StripGateDevice& device) {
    int index = 0;
    int clusters = 0;
    int largest = 1;
    cudaError_t status = cudaGetDevice(&index);
    if (status == cudaSuccess) {
        status = cudaDeviceGetAttribute(&device.multiprocessors, cudaDevAttrMultiProcessorCount, index);
    }
    if (status == cudaSuccess) {
        status = cudaDeviceGetAttribute(&clusters, cudaDevAttrClusterLaunch, index);
    }
    if (status == cudaSuccess && clusters != 0) {
        status = find_largest_cluster(largest);
    }
    device.largest_cluster = largest;
    return description(status);
}

char const* launch_strip_gate_plan(StripGateShape const& shape, StripGateTypes const& types, StripGatePlan const& plan,
    void const* x, void const* w1, void const* w2, void* y, void* workspace, CUstream_st* stream) {
    bool const half = types.x == ElementType::kHalf;
    bool const half_weights = types.weights == ElementType::kHalf;
    auto const launch = half ? (half_weights ? launch_types<__half, __half> : launch_types<__half, float>)
                             : (half_weights ? launch_types<float, __half> : launch_types<float, float>);
    return description(launch(shape, plan, x, w1, w2, y, workspace, stream));
}

char const* launch_strip_gate(StripGateShape const& shape, StripGateTypes const& types, void const* x, void const* w1,
    void const* w2, void* y, void* workspace, CUstream_st* stream) {
    char const* failure = strip_gate_refusal(shape);
    if (failure != nullptr || shape.images == 0) {
        return failure;
    }
    StripGateDevice device{};
    failure = describe_device(device);
    return failure != nullptr
        ? failure
        : launch_strip_gate_plan(shape, types, plan_for(shape, types, device), x, w1, w2, y, workspace, stream);
}

}  // namespace lgeu
