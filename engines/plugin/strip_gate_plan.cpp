#include "strip_gate_kernel.h"

namespace lgeu {
namespace {

// Every GPU gives a block this much shared memory without being asked.
constexpr int64_t kSharedFloats = 48 * 1024 / sizeof(float);
constexpr int kSmallestSlice = 8;
constexpr int kPadding = 8;
constexpr int kUsualSlice = 64;
constexpr int kSingleSliceChannels = 256;

// One image, `slice` channels: padded means, and partial sums (two sets) and their total.
int64_t shared_floats(StripGateShape const& shape, int slice) {
    return static_cast<int64_t>(shape.strips) * (slice + kPadding + 3 * static_cast<int64_t>(shape.reduction));
}

int64_t ceil_div(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }

}  // namespace

char const* strip_gate_refusal(StripGateShape const& shape) {
    return shared_floats(shape, kSmallestSlice) <= kSharedFloats
        ? nullptr
        : "K * (3 R + 16) is above 12,288: the gates of an image do not fit a block's 48 KB of shared memory";
}

size_t strip_gate_workspace_bytes(StripGateShape const& shape, StripGateTypes const&) {
    if (shape.channels <= kSingleSliceChannels && shared_floats(shape, shape.channels + kPadding) <= kSharedFloats) {
        return 0;
    }
    int slice = kUsualSlice;
    while (slice > kSmallestSlice && shared_floats(shape, slice) > kSharedFloats) {
        slice /= 2;
    }
    int64_t const slices = ceil_div(shape.channels, slice);
    int64_t const image_floats = static_cast<int64_t>(shape.strips) * (shape.channels + slices * shape.reduction);
    return sizeof(float) * static_cast<size_t>(shape.images) * static_cast<size_t>(image_floats);
}

}  // namespace lgeu
