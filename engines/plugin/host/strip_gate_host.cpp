// strip_gate_launch.h for the CPU: the kernel's device code as fibres, for tests. As a library:
//     g++ -shared -fPIC -std=c++17 -I.. strip_gate_host.cpp ../strip_gate_plan.cpp ../strip_gate_c_api.cpp
#include "strip_gate_kernel.cuh"
#include "strip_gate_launch.h"

namespace lgeu {
namespace {

shim::Grid grid_of(StripGatePlan const& plan, size_t shared_bytes, bool cluster) {
    auto const slices = static_cast<unsigned>(plan.slices);
    return {slices, static_cast<unsigned>(plan.tiles_at_once), static_cast<unsigned>(plan.threads),
        cluster ? slices : 1, shared_bytes / sizeof(float)};
}

template <int kImages, typename X, typename W>
void run_tiles_of(StripGateProblem<X, W> const& problem) {
    StripGateShape const& shape = problem.shape;
    StripGatePlan const& plan = problem.plan;
    bool const fused = plan.method == StripGateMethod::kFused;
    shim::run(grid_of(plan, squeeze_shared_bytes(shape, plan), fused),
        [&](float* shared) { squeeze_block<kImages>(problem, shared); });
    if (!fused) {
        shim::run(grid_of(plan, excite_shared_bytes(shape, plan), false),
            [&](float* shared) { excite_block<kImages>(problem, shared); });
    }
}

template <typename X, typename W>
void run_types(StripGateShape const& shape, StripGatePlan const& plan, void const* x, void const* w1, void const* w2,
    void* y, void* workspace) {
    StripGateProblem<X, W> const problem{shape, plan, static_cast<X const*>(x), static_cast<W const*>(w1),
        static_cast<W const*>(w2), static_cast<X*>(y), static_cast<float*>(workspace)};
    plan.tile_images % kImagesTogether == 0 ? run_tiles_of<kImagesTogether>(problem) : run_tiles_of<1>(problem);
}

}  // namespace

// A CPU carries out what is planned for a large GPU with clusters.
char const* describe_device(StripGateDevice& device) {
    device = {132, kSlicesInCluster};
    return nullptr;
}

char const* launch_strip_gate_plan(StripGateShape const& shape, StripGateTypes const& types, StripGatePlan const& plan,
    void const* x, void const* w1, void const* w2, void* y, void* workspace, CUstream_st*) {
    bool const half_weights = types.weights == ElementType::kHalf;
    auto const run = types.x == ElementType::kHalf ? (half_weights ? run_types<__half, __half> : run_types<__half, float>)
                                                   : (half_weights ? run_types<float, __half> : run_types<float, float>);
    try {
        run(shape, plan, x, w1, w2, y, workspace);
    } catch (std::logic_error const&) {
        return "not all threads reached the same barrier";
    }
    return nullptr;
}

char const* launch_strip_gate(StripGateShape const& shape, StripGateTypes const& types, void const* x, void const* w1,
    void const* w2, void* y, void* workspace, CUstream_st* stream) {
    StripGateDevice device{};
    describe_device(device);
    return shape.images == 0
        ? nullptr
        : launch_strip_gate_plan(shape, types, plan_for(shape, types, device), x, w1, w2, y, workspace, stream);
}

}  // namespace lgeu
