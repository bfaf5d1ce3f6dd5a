// What the numbers below are weighed by, for the network of the paper at 256 x 128 (C 2048, X 8 x 4, K 4, R 16, half):
// an image of X has 131 KB, W1 and W2 together 524 KB, Y 4 KB. With b(memory) and b(L2) the two bandwidths, a batch of N
// cannot take less than the larger of
//     (N * 135 KB + 524 KB) / b(memory)    X, W and Y, once
//     N * (135 KB + 524 KB / T) / b(L2)    every tile of T images reads the weights, and X comes this way, too
// so that T = 8 makes the weights half of X (65 KB an image), on GPUs whose L2 is about twice as fast as their memory.
// A batch of 1 is 660 KB, and one block could not have enough of it under way: 8 slices make it 82 KB a multiprocessor.
#include "strip_gate_plan.h"

#include <algorithm>
#include <cstdint>

namespace lgeu {
namespace {

constexpr int kAlignment = 8;  // channels of a slice are whole 16-byte groups of half
constexpr int kSmallestSlice = 8;
constexpr int kUsualSlice = 64;   // fewer channels leave most of a block without work
constexpr int kLargestSlice = 256;
constexpr int kBlocksPerMultiprocessor = 2;  // what registers allow, see strip_gate_kernel.cu

int64_t ceil_div(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }

int element_bytes(ElementType type) { return type == ElementType::kHalf ? 2 : 4; }

size_t float_bytes(int64_t floats) { return sizeof(float) * static_cast<size_t>(floats); }

bool fits(StripGateShape const& shape, StripGatePlan const& plan) {
    return std::max(squeeze_shared_bytes(shape, plan), excite_shared_bytes(shape, plan))
        <= static_cast<size_t>(kSharedBytes);
}

StripGatePlan sliced(StripGateMethod method, StripGateShape const& shape, int slice_channels) {
    int const slices = static_cast<int>(ceil_div(shape.channels, slice_channels));
    return {method, slice_channels, slices, 1, shape.images, kMaxThreads};
}

StripGatePlan fused(StripGateShape const& shape, int slices) {
    int64_t const channels = ceil_div(ceil_div(shape.channels, slices), kAlignment) * kAlignment;
    return sliced(StripGateMethod::kFused, shape, static_cast<int>(channels));
}

// Two kernels whose slices have `channels`, or fewer where their means would not fit.
StripGatePlan two_kernels(StripGateShape const& shape, int channels) {
    StripGatePlan plan = sliced(StripGateMethod::kTwoKernels, shape, channels);
    while (plan.slice_channels > kSmallestSlice && !fits(shape, plan)) {
        plan = sliced(StripGateMethod::kTwoKernels, shape, plan.slice_channels / 2);
    }
    return plan;
}

// One block holds all channels: neither a cluster nor a workspace is needed, on any GPU.
bool fits_one_slice(StripGateShape const& shape) {
    return shape.channels <= kLargestSlice && fits(shape, fused(shape, 1));
}

// Slices before images: a batch of any size is spread over them.
StripGatePlan slices_for(StripGateShape const& shape, StripGateDevice const& device) {
    int slices = 1;
    while (slices < kSlicesInCluster && slices * 2 * kUsualSlice <= shape.channels) {
        slices *= 2;
    }
    if (slices <= device.largest_cluster && fits(shape, fused(shape, slices))) {
        return fused(shape, slices);
    }
    if (fits_one_slice(shape)) {
        return fused(shape, 1);
    }
    int channels = kLargestSlice;
    while (channels > kUsualSlice && ceil_div(shape.channels, channels) * shape.images < device.multiprocessors) {
        channels /= 2;
    }
    return two_kernels(shape, channels);
}

// As many images as it takes until the weights that a tile reads are half of its X, but three quarters of the
// multiprocessors have a block.
int tile_for(
    StripGateShape const& shape, StripGateTypes const& types, StripGateDevice const& device, StripGatePlan plan) {
    double const weight_bytes = 2.0 * shape.reduction * element_bytes(types.weights);
    double const image_bytes = 1.0 * shape.strip_area() * element_bytes(types.x);
    int const most = shape.images < kMaxTileImages ? shape.images : kMaxTileImages;
    while (plan.tile_images < most && plan.tile_images * image_bytes < 2.0 * weight_bytes) {
        StripGatePlan larger = plan;
        larger.tile_images *= 2;
        int64_t const blocks = static_cast<int64_t>(larger.slices) * larger.tiles(shape);
        if (4 * blocks < 3 * static_cast<int64_t>(device.multiprocessors) || !fits(shape, larger)) {
            break;
        }
        plan = larger;
    }
    return plan.tile_images;
}

// Blocks that run together, each with equally many tiles: the next tile is fetched while a block works on this one.
int tiles_at_once(StripGateShape const& shape, StripGateDevice const& device, StripGatePlan const& plan) {
    int64_t const together = std::max<int64_t>(
        1, static_cast<int64_t>(kBlocksPerMultiprocessor) * device.multiprocessors / plan.slices);
    int64_t const tiles = plan.tiles(shape);
    return static_cast<int>(ceil_div(tiles, ceil_div(tiles, together)));
}

}  // namespace

char const* strip_gate_refusal(StripGateShape const& shape) {
    return fits(shape, two_kernels(shape, kSmallestSlice))
        ? nullptr
        : "K * max(R, 16) is above 12,288: the sums of one image do not fit a block's 48 KB of shared memory";
}

StripGatePlan plan_for(StripGateShape const& shape, StripGateTypes const& types, StripGateDevice const& device) {
    StripGatePlan plan = slices_for(shape, device);
    plan.tile_images = tile_for(shape, types, device, plan);
    plan.tiles_at_once = tiles_at_once(shape, device, plan);
    return plan;
}

char const* plan_refusal(StripGateShape const& shape, StripGatePlan const& plan, int32_t largest_cluster) {
    bool const fused = plan.method == StripGateMethod::kFused;
    if (plan.slice_channels <= 0 || plan.slice_channels % kAlignment != 0
        || plan.slices != ceil_div(shape.channels, plan.slice_channels)) {
        return "the slices are not the channels, in whole groups of 8";
    }
    if (fused && plan.slices > largest_cluster) {
        return "this many slices are not one cluster here";
    }
    if (plan.tile_images != 1 && plan.tile_images != 2 && plan.tile_images != 4 && plan.tile_images != 8) {
        return "a tile has 1, 2, 4 or 8 images";
    }
    if (plan.tiles_at_once < 1 || plan.tiles_at_once > 65535) {
        return "a grid has 1 to 65,535 tiles at once";
    }
    if (plan.threads < 32 || plan.threads > kMaxThreads || plan.threads % 32 != 0) {
        return "a block has 1 to 8 whole warps";
    }
    return fits(shape, plan) ? nullptr : "a block would need more than 48 KB of shared memory";
}

size_t squeeze_shared_bytes(StripGateShape const& shape, StripGatePlan const& plan) {
    // Fused: two sets of partial sums in turn, and their total.
    int64_t const sums = plan.method == StripGateMethod::kFused ? 3 * sums_floats(shape, plan) : 0;
    return float_bytes(means_floats(shape, plan) + sums);
}

size_t excite_shared_bytes(StripGateShape const& shape, StripGatePlan const& plan) {
    return float_bytes(sums_floats(shape, plan));
}

size_t plan_workspace_bytes(StripGateShape const& shape, StripGatePlan const& plan) {
    return plan.method == StripGateMethod::kFused
        ? 0
        : float_bytes(workspace_means_floats(shape) + workspace_sums_floats(shape, plan));
}

size_t strip_gate_workspace_bytes(StripGateShape const& shape, StripGateTypes const&) {
    // Narrower slices than these are not planned for any GPU or batch.
    return fits_one_slice(shape) ? 0 : plan_workspace_bytes(shape, two_kernels(shape, kUsualSlice));
}

}  // namespace lgeu
