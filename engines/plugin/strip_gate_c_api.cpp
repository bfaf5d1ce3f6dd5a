// The kernel and its plans without TensorRT, for benchmarks and tests (benchmarks/strip_gate_library.py). Linked with
// strip_gate_plan.cpp and strip_gate_kernel.cu; with host/strip_gate_host.cpp in the kernel's place it runs on the CPU.
// Functions that can fail return nullptr, or the reason.
#include "strip_gate_launch.h"

using lgeu::StripGateDevice;
using lgeu::StripGatePlan;
using lgeu::StripGateShape;
using lgeu::StripGateTypes;

#define LGEU_EXPORT extern "C" __attribute__((visibility("default")))

LGEU_EXPORT char const* strip_gate_device(StripGateDevice* device) { return lgeu::describe_device(*device); }

LGEU_EXPORT char const* strip_gate_refusal(StripGateShape const* shape) { return lgeu::strip_gate_refusal(*shape); }

LGEU_EXPORT size_t strip_gate_workspace_bytes(StripGateShape const* shape, StripGateTypes const* types) {
    return lgeu::strip_gate_workspace_bytes(*shape, *types);
}

LGEU_EXPORT void strip_gate_plan(StripGateShape const* shape, StripGateTypes const* types,
    StripGateDevice const* device, StripGatePlan* plan) {
    *plan = lgeu::plan_for(*shape, *types, *device);
}

LGEU_EXPORT char const* strip_gate_plan_refusal(
    StripGateShape const* shape, StripGatePlan const* plan, StripGateDevice const* device) {
    return lgeu::plan_refusal(*shape, *plan, device->largest_cluster);
}

LGEU_EXPORT size_t strip_gate_plan_workspace_bytes(StripGateShape const* shape, StripGatePlan const* plan) {
    return lgeu::plan_workspace_bytes(*shape, *plan);
}

// What the plugin calls.
LGEU_EXPORT char const* strip_gate_launch(StripGateShape const* shape, StripGateTypes const* types, void const* x,
    void const* w1, void const* w2, void* y, void* workspace, CUstream_st* stream) {
    return lgeu::launch_strip_gate(*shape, *types, x, w1, w2, y, workspace, stream);
}

// As it, with a plan that strip_gate_plan_refusal lets pass for the current device.
LGEU_EXPORT char const* strip_gate_launch_plan(StripGateShape const* shape, StripGateTypes const* types,
    StripGatePlan const* plan, void const* x, void const* w1, void const* w2, void* y, void* workspace,
    CUstream_st* stream) {
    return lgeu::launch_strip_gate_plan(*shape, *types, *plan, x, w1, w2, y, workspace, stream);
}
