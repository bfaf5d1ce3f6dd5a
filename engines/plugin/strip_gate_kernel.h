// What the StripGate kernel is given, and how it is launched. Needs neither TensorRT nor the CUDA compiler.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__CUDACC__)
#define LGEU_HOST_DEVICE __host__ __device__
#else
#define LGEU_HOST_DEVICE
#endif

struct CUstream_st;

namespace lgeu {

enum class ElementType : int32_t { kFloat = 0, kHalf = 1 };

// Y has the type of X. All four combinations are supported; sums are fp32 in each.
struct StripGateTypes {
    ElementType x;
    ElementType weights;
};

// X is (images, channels, height, width), or (images, height, width, channels) where channels_last.
// W1 is (strips, reduction, channels), W2 (strips, channels, reduction), Y (images, channels).
// All are positive except images, which may be 0; height is a multiple of strips.
struct StripGateShape {
    int32_t images;
    int32_t channels;
    int32_t height;
    int32_t width;
    int32_t strips;
    int32_t reduction;
    bool channels_last;
    // Where channels_last, the elements from one pixel to the next: channels, or more where pixels are padded
    // (TensorRT's kHWC8 pads them to a multiple of 8). Otherwise not used.
    int32_t pixel_stride;

    LGEU_HOST_DEVICE int strip_area() const { return height / strips * width; }
    LGEU_HOST_DEVICE int64_t image_elements() const {
        return static_cast<int64_t>(channels_last ? pixel_stride : channels) * height * width;
    }
};

// Why the kernel does not take this shape, whatever its batch: num_strips gates of this many rows do not fit a block's
// shared memory. nullptr: it does.
char const* strip_gate_refusal(StripGateShape const& shape);

// Device memory that launch_strip_gate may use: enough on every GPU, and for every batch up to shape.images.
size_t strip_gate_workspace_bytes(StripGateShape const& shape, StripGateTypes const& types);

// Enqueues the operator on `stream`, of the device that is current; allocates nothing. `workspace` is 16-byte aligned
// and has strip_gate_workspace_bytes(), and belongs to this call until it has run.
// Returns nullptr, or a description of what went wrong.
char const* launch_strip_gate(StripGateShape const& shape, StripGateTypes const& types, void const* x, void const* w1,
    void const* w2, void* y, void* workspace, CUstream_st* stream);

}  // namespace lgeu
