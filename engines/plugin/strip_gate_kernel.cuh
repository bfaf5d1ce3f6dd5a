// Device code of the StripGate operator: Y = mean over space of X gated strip by strip.
//
// For every image and strip k of K (H / K rows each), with L_k the mean of the strip over space:
//     S_k = relu(W1_k L_k)          W1_k: R x C
//     V_k = sigmoid(W2_k S_k)       W2_k: C x R
//     Y   = 1/K sum_k V_k * L_k     because a gate that is constant inside a strip commutes with its mean
// so X is read once and only K x C means are kept. Sums are fp32 whatever the type of X.
//
// The same code is compiled by g++ over host/cuda_shim.h, where a block's threads are fibres; that is how it is
// tested on machines without a GPU.
#pragma once

#if defined(__CUDACC__)
#include <cuda_fp16.h>
#else
#include "host/cuda_shim.h"
#endif

#include "strip_gate_kernel.h"

namespace lgeu {

constexpr int kThreadsPerBlock = 512;
constexpr int kWarp = 32;
constexpr int kVectorBytes = 16;

// Floats that one image needs.
LGEU_HOST_DEVICE inline int scratch_floats(StripGateShape const& shape) {
    return shape.strips * (shape.channels + shape.reduction);
}

// N values that are loaded together: with one 16-byte instruction where the address allows it, else one by one.
template <typename T, int N>
struct alignas(sizeof(T) * N) Vector {
    T values[N];
};

template <int N, typename T>
__device__ inline Vector<T, N> load(T const* address) {
    return *reinterpret_cast<Vector<T, N> const*>(address);
}

__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(__half value) { return __half2float(value); }

template <typename T>
__device__ inline T from_float(float value);
template <>
__device__ inline float from_float<float>(float value) { return value; }
template <>
__device__ inline __half from_float<__half>(float value) { return __float2half(value); }

// Sum over `width` neighbouring lanes (a power of two up to a warp); every lane gets it. All 32 lanes must call it.
__device__ inline float sum_over_lanes(float value, int width) {
    for (int offset = width / 2; offset > 0; offset /= 2) {
        value += __shfl_xor_sync(0xffffffffu, value, offset);
    }
    return value;
}

// Dot product of `length` weights and floats, this thread taking every `step`-th group of N from `first` on.
template <int N, typename T>
__device__ inline float partial_dot(T const* weights, float const* values, int length, int first, int step) {
    float sum = 0.0f;
    for (int i = first * N; i < length; i += step * N) {
        auto const group = load<N>(weights + i);
#pragma unroll
        for (int j = 0; j < N; ++j) {
            sum += to_float(group.values[j]) * values[i + j];
        }
    }
    return sum;
}

// Strip means of one NCHW image. A strip of a channel is one contiguous run of `area` values, so the image is
// C * K runs; as many lanes as a run has groups of N (a power of two) share it.
template <int N, typename T>
__device__ void strip_means_nchw(StripGateShape const& shape, T const* image, float* means) {
    int const area = shape.strip_area();
    int const groups_of_n = area / N;
    int lanes = 1;
    while (lanes < kWarp && lanes * 2 <= groups_of_n) {
        lanes *= 2;
    }
    int const lane = static_cast<int>(threadIdx.x) % lanes;
    int const runs = shape.channels * shape.strips;
    int const runs_at_once = static_cast<int>(blockDim.x) / lanes;
    float const scale = 1.0f / static_cast<float>(area);
    // The bound is the same for the whole block: every lane must reach the exchange between lanes.
    for (int base = 0; base < runs; base += runs_at_once) {
        int const run = base + static_cast<int>(threadIdx.x) / lanes;
        float sum = 0.0f;
        if (run < runs) {
            for (int i = lane; i < groups_of_n; i += lanes) {
                auto const group = load<N>(image + static_cast<int64_t>(run) * area + i * N);
#pragma unroll
                for (int j = 0; j < N; ++j) {
                    sum += to_float(group.values[j]);
                }
            }
        }
        sum = sum_over_lanes(sum, lanes);
        if (run < runs && lane == 0) {
            means[(run % shape.strips) * shape.channels + run / shape.strips] = sum * scale;
        }
    }
}

// Strip means of one NHWC image: a thread owns N neighbouring channels of a strip and walks over its pixels.
template <int N, typename T>
__device__ void strip_means_nhwc(StripGateShape const& shape, T const* image, float* means) {
    int const area = shape.strip_area();
    int const groups = shape.channels / N;
    float const scale = 1.0f / static_cast<float>(area);
    for (int item = static_cast<int>(threadIdx.x); item < shape.strips * groups; item += static_cast<int>(blockDim.x)) {
        int const strip = item / groups;
        int const channel = item % groups * N;
        T const* pixel = image + static_cast<int64_t>(strip) * area * shape.pixel_stride + channel;
        float sums[N] = {};
        for (int i = 0; i < area; ++i, pixel += shape.pixel_stride) {
            auto const group = load<N>(pixel);
#pragma unroll
            for (int j = 0; j < N; ++j) {
                sums[j] += to_float(group.values[j]);
            }
        }
#pragma unroll
        for (int j = 0; j < N; ++j) {
            means[strip * shape.channels + channel + j] = sums[j] * scale;
        }
    }
}

// squeezed[k][r] = relu(W1_k L_k)[r], one warp to a row of W1.
template <int N, typename T>
__device__ void squeeze(StripGateShape const& shape, T const* w1, float const* means, float* squeezed) {
    int const lane = static_cast<int>(threadIdx.x) % kWarp;
    int const warps = static_cast<int>(blockDim.x) / kWarp;
    int const rows = shape.strips * shape.reduction;
    for (int row = static_cast<int>(threadIdx.x) / kWarp; row < rows; row += warps) {
        T const* weights = w1 + static_cast<int64_t>(row) * shape.channels;
        float const* strip = means + row / shape.reduction * shape.channels;
        float const sum = sum_over_lanes(partial_dot<N>(weights, strip, shape.channels, lane, kWarp), kWarp);
        if (lane == 0) {
            squeezed[row] = sum > 0.0f ? sum : (sum == sum ? 0.0f : sum);  // relu that keeps a NaN visible
        }
    }
}

// Y[c] = 1/K sum_k sigmoid(W2_k squeezed_k)[c] * L_k[c], one thread to a channel.
template <int N, typename W, typename T>
__device__ void excite(StripGateShape const& shape, W const* w2, float const* means, float const* squeezed, T* y) {
    float const scale = 1.0f / static_cast<float>(shape.strips);
    for (int c = static_cast<int>(threadIdx.x); c < shape.channels; c += static_cast<int>(blockDim.x)) {
        float sum = 0.0f;
        for (int k = 0; k < shape.strips; ++k) {
            int const row = k * shape.channels + c;
            W const* weights = w2 + static_cast<int64_t>(row) * shape.reduction;
            float const logit = partial_dot<N>(weights, squeezed + k * shape.reduction, shape.reduction, 0, 1);
            sum += means[row] / (1.0f + expf(-logit));
        }
        y[c] = from_float<T>(sum * scale);
    }
}

// Whether rows of `length` values from `address` on are whole groups of N that one instruction can load.
template <int N, typename T>
__device__ inline bool in_groups(T const* address, int length) {
    return length % N == 0 && reinterpret_cast<uintptr_t>(address) % (N * sizeof(T)) == 0;
}

// One block, one image. `scratch` holds scratch_floats(shape) floats, in shared or in global memory.
// Every input is read 16 bytes at a time where its sizes and address allow it, value by value elsewhere.
template <typename T, typename W>
__device__ void strip_gate_image(
    StripGateShape const& shape, T const* x, W const* w1, W const* w2, T* y, float* scratch) {
    constexpr int kN = kVectorBytes / static_cast<int>(sizeof(T));
    constexpr int kW = kVectorBytes / static_cast<int>(sizeof(W));
    float* const means = scratch;
    float* const squeezed = scratch + shape.strips * shape.channels;
    int64_t const image = static_cast<int64_t>(blockIdx.x);
    T const* const source = x + image * shape.image_elements();
    if (shape.channels_last) {
        in_groups<kN>(source, shape.channels) && shape.pixel_stride % kN == 0 ? strip_means_nhwc<kN>(shape, source, means)
                                              : strip_means_nhwc<1>(shape, source, means);
    } else {
        in_groups<kN>(source, shape.strip_area()) ? strip_means_nchw<kN>(shape, source, means)
                                                  : strip_means_nchw<1>(shape, source, means);
    }
    __syncthreads();
    in_groups<kW>(w1, shape.channels) ? squeeze<kW>(shape, w1, means, squeezed)
                                      : squeeze<1>(shape, w1, means, squeezed);
    __syncthreads();
    T* const target = y + image * shape.channels;
    in_groups<kW>(w2, shape.reduction) ? excite<kW>(shape, w2, means, squeezed, target)
                                       : excite<1>(shape, w2, means, squeezed, target);
}

}  // namespace lgeu
