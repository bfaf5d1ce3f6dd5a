// L: the mean of every strip over space, for a slice of the channels and a tile of images.
#pragma once

#include "strip_gate_device.cuh"
#include "strip_gate_plan.h"

namespace lgeu {

// A thread has as many loads under way, of the one layout and of the other.
constexpr int kRunsAtOnce = 4;
constexpr int kPixelsAtOnce = 8;

struct Slice {
    int first;
    int channels;
};

struct Tile {
    int first;
    int images;  // fewer than the plan's in the last tile
};

// Where strip means lie: in shared memory for a slice, in the workspace for all channels.
struct Means {
    float* values;
    int64_t image_stride;
    int strip_stride;

    __device__ float* of(int image, int strip) const {
        return values + image * image_stride + static_cast<int64_t>(strip) * strip_stride;
    }
};

// X of one image from the first channel of a slice on.
template <typename X>
__device__ inline X const* slice_of_image(StripGateShape const& shape, X const* x, int image, Slice slice) {
    int64_t const offset = shape.channels_last ? slice.first
                                               : static_cast<int64_t>(slice.first) * shape.strips * shape.strip_area();
    return x + image * shape.image_elements() + offset;
}

// A strip of a channel, of all that lie one after the other in an NCHW image; a thread takes every `step`-th.
class Run {
public:
    __device__ Run(int index, int step, int strips)
        : channel(index / strips)
        , strip(index % strips)
        , channel_step_(step / strips)
        , strip_step_(step % strips)
        , strips_(strips) {}

    __device__ void advance() {
        channel += channel_step_;
        strip += strip_step_;
        if (strip >= strips_) {
            strip -= strips_;
            ++channel;
        }
    }

    int channel;
    int strip;

private:
    int channel_step_;
    int strip_step_;
    int strips_;
};

// As many lanes as a run has vectors (a power of two) share it: for 8 x 4, K = 4 and half that is one lane, and a warp
// reads 512 bytes that lie together.
__device__ inline int lanes_of_run(int vectors) {
    int lanes = 1;
    while (lanes < kWarp && lanes * 2 <= vectors) {
        lanes *= 2;
    }
    return lanes;
}

template <int N, typename X>
__device__ void strip_means_nchw(StripGateShape const& shape, X const* x, Slice slice, int images, Means means) {
    int const area = shape.strip_area();
    int const vectors = area / N;
    int const lanes = lanes_of_run(vectors);
    int const lane = static_cast<int>(threadIdx.x) % lanes;
    int const first = static_cast<int>(threadIdx.x) / lanes;
    int const step = static_cast<int>(blockDim.x) / lanes;
    int const runs = slice.channels * shape.strips;
    float const scale = 1.0f / static_cast<float>(area);
    for (int image = 0; image < images; ++image, x += shape.image_elements()) {
        Run run(first, step, shape.strips);
        // The bound is the same for the whole block: every lane must reach the sum over lanes.
        for (int base = 0; base < runs; base += kRunsAtOnce * step) {
            float sums[kRunsAtOnce] = {};
            for (int v = lane; v < vectors; v += lanes) {
                Vector<X, N> loaded[kRunsAtOnce];
#pragma unroll
                for (int u = 0; u < kRunsAtOnce; ++u) {
                    int const index = base + u * step + first;
                    loaded[u] = load_once<N>(x + static_cast<int64_t>(index < runs ? index : 0) * area + v * N);
                }
#pragma unroll
                for (int u = 0; u < kRunsAtOnce; ++u) {
#pragma unroll
                    for (int j = 0; j < N; ++j) {
                        sums[u] += to_float(loaded[u].values[j]);
                    }
                }
            }
#pragma unroll
            for (int u = 0; u < kRunsAtOnce; ++u, run.advance()) {
                float const sum = sum_over_lanes(sums[u], lanes);
                if (lane == 0 && run.channel < slice.channels) {
                    means.of(image, run.strip)[run.channel] = sum * scale;
                }
            }
        }
    }
}

// A thread has N neighbouring channels of a strip and walks over its pixels.
template <int N, typename X>
__device__ void strip_means_nhwc(StripGateShape const& shape, X const* x, Slice slice, int images, Means means) {
    int const area = shape.strip_area();
    int const columns = slice.channels / N;
    float const scale = 1.0f / static_cast<float>(area);
    for (int item = static_cast<int>(threadIdx.x); item < images * shape.strips * columns;
         item += static_cast<int>(blockDim.x)) {
        int const channel = item % columns * N;
        int const image = item / columns / shape.strips;
        int const strip = item / columns % shape.strips;
        X const* pixel = x + image * shape.image_elements()
            + static_cast<int64_t>(strip) * area * shape.pixel_stride + channel;
        float sums[N] = {};
#pragma unroll kPixelsAtOnce
        for (int i = 0; i < area; ++i) {
            auto const loaded = load_once<N>(pixel + static_cast<int64_t>(i) * shape.pixel_stride);
#pragma unroll
            for (int j = 0; j < N; ++j) {
                sums[j] += to_float(loaded.values[j]);
            }
        }
#pragma unroll
        for (int j = 0; j < N; ++j) {
            means.of(image, strip)[channel + j] = sums[j] * scale;
        }
    }
}

// Reads X of the tile, 16 bytes at a time where its sizes and address allow it.
template <typename X>
__device__ void strip_means(StripGateShape const& shape, X const* all_of_x, Slice slice, Tile tile, Means means) {
    constexpr int kN = kPerVector<X>;
    X const* const x = slice_of_image(shape, all_of_x, tile.first, slice);
    if (shape.channels_last) {
        bool const vectors = slice.channels % kN == 0 && in_vectors<kN>(x, shape.pixel_stride);
        vectors ? strip_means_nhwc<kN>(shape, x, slice, tile.images, means)
                : strip_means_nhwc<1>(shape, x, slice, tile.images, means);
    } else if (in_vectors<kN>(x, shape.strip_area())) {
        strip_means_nchw<kN>(shape, x, slice, tile.images, means);
    } else if (in_vectors<kN / 2>(x, shape.strip_area())) {
        strip_means_nchw<kN / 2>(shape, x, slice, tile.images, means);
    } else {
        strip_means_nchw<1>(shape, x, slice, tile.images, means);
    }
}

// Asks for X of a tile, ahead of the loads.
template <typename X>
__device__ void prefetch_x(StripGateShape const& shape, X const* x, Slice slice, Tile tile) {
    int const pixels = shape.channels_last ? shape.height * shape.width : 1;
    int64_t const count = shape.channels_last
        ? slice.channels
        : static_cast<int64_t>(slice.channels) * shape.strips * shape.strip_area();
    for (int i = static_cast<int>(threadIdx.x); i < tile.images * pixels; i += static_cast<int>(blockDim.x)) {
        X const* const image = slice_of_image(shape, x, tile.first + i / pixels, slice);
        prefetch(image + static_cast<int64_t>(i % pixels) * shape.pixel_stride, count);
    }
}

}  // namespace lgeu
