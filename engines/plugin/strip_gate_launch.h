// Launching a plan that was made elsewhere, for benchmarks and tests; strip_gate_kernel.h launches the one that it plans.
#pragma once

#include "strip_gate_plan.h"

namespace lgeu {

// What the current device is, for plan_for. Returns nullptr, or CUDA's description of what went wrong.
char const* describe_device(StripGateDevice& device);

// As launch_strip_gate, with at least one image; `workspace` has plan_workspace_bytes().
char const* launch_strip_gate_plan(StripGateShape const& shape, StripGateTypes const& types, StripGatePlan const& plan,
    void const* x, void const* w1, void const* w2, void* y, void* workspace, CUstream_st* stream);

}  // namespace lgeu
