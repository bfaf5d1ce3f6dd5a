// How a StripGate call is divided over a GPU: a pure function of the sizes and of the GPU. Needs no CUDA.
//
// A block has a slice of the channels, all strips of it, for a tile of images: weights that it has read serve every
// image of the tile. The K * R sums of an image over all channels need all slices together:
//   kFused      the slices of a tile are one thread-block cluster (or there is one slice only) and exchange their sums
//               through shared memory. X is read once, and nothing is written but Y.
//   kTwoKernels GPUs whose clusters are smaller than that, or that have none, and sizes that do not fit one: means and
//               partial sums go through the workspace.
#pragma once

#include "strip_gate_kernel.h"

namespace lgeu {

// Shared memory that every GPU gives a block without being asked; no plan needs more.
constexpr int64_t kSharedBytes = 48 * 1024;
constexpr int kSlicesInCluster = 8;  // the portable limit; a small GPU, or a part of one (MIG), takes less
constexpr int kMaxThreads = 256;
constexpr int kMaxTileImages = 8;

struct StripGateDevice {
    int32_t multiprocessors;
    int32_t largest_cluster;  // in blocks of the kernel; 1: the GPU, or the code in use for it, has no clusters
};

enum class StripGateMethod : int32_t { kFused = 0, kTwoKernels = 1 };

struct StripGatePlan {
    StripGateMethod method;
    int32_t slice_channels;  // a multiple of 8; the last slice may have fewer
    int32_t slices;
    int32_t tile_images;    // 1, 2, 4 or 8
    int32_t tiles_at_once;  // a block goes through its tiles in steps of this many
    int32_t threads;        // in a block, a multiple of 32

    LGEU_HOST_DEVICE int tiles(StripGateShape const& shape) const {
        return shape.images / tile_images + (shape.images % tile_images != 0 ? 1 : 0);
    }
};

// The next strip's means start this many floats after the end of one strip's: by K = 4 strips of 8 channels, which a warp
// stores together, all 32 banks of shared memory are used.
constexpr int kStripPadding = 8;

LGEU_HOST_DEVICE inline int strip_stride(StripGatePlan const& plan) { return plan.slice_channels + kStripPadding; }

// Floats of shared memory by what they hold: strip means of a tile, and one set of its K * R sums.
LGEU_HOST_DEVICE inline int64_t means_floats(StripGateShape const& shape, StripGatePlan const& plan) {
    return static_cast<int64_t>(plan.tile_images) * shape.strips * strip_stride(plan);
}
LGEU_HOST_DEVICE inline int64_t sums_floats(StripGateShape const& shape, StripGatePlan const& plan) {
    return static_cast<int64_t>(plan.tile_images) * shape.strips * shape.reduction;
}

// Floats of the workspace of kTwoKernels by what they hold: strip means (images, K, C), and partial sums
// (images, slices, K, R) behind them.
LGEU_HOST_DEVICE inline int64_t workspace_means_floats(StripGateShape const& shape) {
    return static_cast<int64_t>(shape.images) * shape.strips * shape.channels;
}
LGEU_HOST_DEVICE inline int64_t workspace_sums_floats(StripGateShape const& shape, StripGatePlan const& plan) {
    return static_cast<int64_t>(shape.images) * plan.slices * shape.strips * shape.reduction;
}

// The plan for a shape that strip_gate_refusal lets pass, with at least one image.
StripGatePlan plan_for(StripGateShape const& shape, StripGateTypes const& types, StripGateDevice const& device);

// Why a plan cannot be launched for this shape, wherever it came from; nullptr: it can.
char const* plan_refusal(StripGateShape const& shape, StripGatePlan const& plan, int32_t largest_cluster);

// Shared memory of a block: of the first or only kernel, and of the second.
size_t squeeze_shared_bytes(StripGateShape const& shape, StripGatePlan const& plan);
size_t excite_shared_bytes(StripGateShape const& shape, StripGatePlan const& plan);

size_t plan_workspace_bytes(StripGateShape const& shape, StripGatePlan const& plan);

}  // namespace lgeu
