// The kernel's device code as a CPU library, for tests: g++ -shared -fPIC -std=c++17 -I.. strip_gate_host.cpp
#include "strip_gate_kernel.cuh"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <vector>

namespace {

template <typename T>
void run(lgeu::StripGateShape const& shape, void const* x, void const* w1, void const* w2, void* y) {
    shim::Block block;
    // Scratch is filled with NaN, so that a value used before it is written shows in the result.
    std::vector<float> scratch(static_cast<size_t>(lgeu::scratch_floats(shape)));
    for (int image = 0; image < shape.images; ++image) {
        std::fill(scratch.begin(), scratch.end(), std::numeric_limits<float>::quiet_NaN());
        blockIdx.x = static_cast<unsigned>(image);
        block.run(lgeu::kThreadsPerBlock, [&] {
            lgeu::strip_gate_image(shape, static_cast<T const*>(x), static_cast<T const*>(w1),
                static_cast<T const*>(w2), static_cast<T*>(y), scratch.data());
        });
    }
}

}  // namespace

// Returns 0, or 1 where the threads of a block did not reach their barriers together.
extern "C" int strip_gate_host(int images, int channels, int height, int width, int strips, int reduction,
    int channels_last, int half, void const* x, void const* w1, void const* w2, void* y) {
    lgeu::StripGateShape const shape{images, channels, height, width, strips, reduction, channels_last != 0, channels};
    try {
        (half != 0 ? run<_Float16> : run<float>)(shape, x, w1, w2, y);
    } catch (std::exception const& error) {
        std::fprintf(stderr, "strip_gate_host: %s\n", error.what());
        return 1;
    }
    return 0;
}
