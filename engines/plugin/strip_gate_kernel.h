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

constexpr int kThreadsPerBlock = 512;
// Every GPU gives a block this much shared memory without being asked; larger problems use the workspace.
constexpr size_t kSharedBytes = 48 * 1024;

enum class ElementType : int32_t { kFloat = 0, kHalf = 1 };

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

    LGEU_HOST_DEVICE int strip_area() const { return height / strips * width; }
    LGEU_HOST_DEVICE int64_t image_elements() const { return static_cast<int64_t>(channels) * height * width; }
    LGEU_HOST_DEVICE int scratch_floats() const { return strips * (channels + reduction); }

    size_t scratch_bytes() const { return sizeof(float) * static_cast<size_t>(scratch_floats()); }
    bool fits_shared_memory() const { return scratch_bytes() <= kSharedBytes; }
    // Device memory that launch_strip_gate needs.
    size_t workspace_bytes() const { return fits_shared_memory() ? 0 : scratch_bytes() * static_cast<size_t>(images); }
};

// Enqueues the operator on `stream`; allocates nothing. `workspace` has shape.workspace_bytes() bytes.
// Returns nullptr, or CUDA's description of what went wrong.
char const* launch_strip_gate(StripGateShape const& shape, ElementType type, void const* x, void const* w1,
    void const* w2, void* y, void* workspace, CUstream_st* stream);

}  // namespace lgeu
