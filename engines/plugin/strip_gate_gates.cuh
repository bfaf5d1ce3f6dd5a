// The two matrix products of every strip, for a slice of the channels and a tile of images. Both are tiles of registers,
// images by rows of the weights, so that a weight that is loaded serves several images and a mean that is loaded serves
// several rows.
#pragma once

#include "strip_gate_means.cuh"

namespace lgeu {

// A warp of `squeeze` is 8 lanes along the channels by 4 along the rows of W1: lanes of equal row read 128 bytes that lie
// together, and the four that share a channel read one mean.
constexpr int kRowLanes = 4;
constexpr int kChannelLanes = kWarp / kRowLanes;

// Images that a thread works on together: this many, or one. One image is little work, which is then given to more
// threads: rows and channels that a thread has are fewer, too.
constexpr int kImagesTogether = 4;
template <int kImages>
constexpr int kRowsOfLane = kImages == 1 ? 1 : 4;
template <int kImages>
constexpr int kChannelsOfThread = kImages == 1 ? 1 : 2;
// For one image time is the way of a weight from L2, which loads that are under way together share: of W1 a thread's
// vectors along the channels, of W2 the strips and the vectors along R.
template <int kImages>
constexpr int kVectorsAtOnce = kImages == 1 ? 4 : 1;
template <int kImages>
constexpr int kStripsAtOnce = kImages == 1 ? 4 : 1;
template <int kImages>
constexpr int kGroupsAtOnce = kImages == 1 ? 2 : 1;

// Which of its sums a lane has the totals of, and whether it is the one of several that have them.
struct Share {
    int first;
    bool owner;
};

// Adds up over the channel lanes. Two lanes that meet divide the sums among them, so that each exchange has half as many
// as the one before; a single sum that is left is added on both sides.
template <int kCount, int kMask = kWarp / 2>
__device__ Share share_sums(float* sums, int lane) {
    if constexpr (kMask < kRowLanes) {
        return {0, true};
    } else if constexpr (kCount == 1) {
        sums[0] += __shfl_xor_sync(kAllLanes, sums[0], kMask);
        Share const rest = share_sums<1, kMask / 2>(sums, lane);
        return {rest.first, rest.owner && (lane & kMask) == 0};
    } else {
        constexpr int kHalf = kCount / 2;
        bool const upper = (lane & kMask) != 0;
#pragma unroll
        for (int i = 0; i < kHalf; ++i) {
            float const given = upper ? sums[i] : sums[kHalf + i];
            float const kept = upper ? sums[kHalf + i] : sums[i];
            sums[i] = kept + __shfl_xor_sync(kAllLanes, given, kMask);
        }
        Share const rest = share_sums<kHalf, kMask / 2>(sums, lane);
        return {rest.first + (upper ? kHalf : 0), rest.owner};
    }
}

// Sums over a slice: sums[image, row] of kRows rows of W1_k (the lane's, every kRowLanes-th) and kImages images.
template <int kImages, int kRows, int N, typename W>
__device__ void squeeze_rows(W const* weights, int64_t row_stride, int rows, float const* means, int64_t image_stride,
    int channels, float* sums) {
    constexpr int kPart = N < kPerVector<float> ? N : kPerVector<float>;  // means that one instruction loads
    int const lane = static_cast<int>(threadIdx.x) % kWarp;
#pragma unroll kVectorsAtOnce<kImages>
    for (int c = lane / kRowLanes * N; c < channels; c += kChannelLanes * N) {
        Vector<W, N> loaded[kRows];
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
            int const row = lane % kRowLanes + r * kRowLanes;
            loaded[r] = load_again<N>(weights + (row < rows ? row : 0) * row_stride + c);
        }
#pragma unroll
        for (int part = 0; part < N; part += kPart) {
#pragma unroll
            for (int i = 0; i < kImages; ++i) {
                auto const mean = load<kPart>(means + i * image_stride + c + part);
#pragma unroll
                for (int r = 0; r < kRows; ++r) {
#pragma unroll
                    for (int j = 0; j < kPart; ++j) {
                        sums[i * kRows + r] += to_float(loaded[r].values[part + j]) * mean.values[j];
                    }
                }
            }
        }
    }
}

// partial[image, k, r] = W1_k[r, slice] L_k[slice], a warp to a group of rows and of images. `weights` is W1 from the
// first channel of the slice on; partial sums of an image are K * R floats, of the next `image_stride` further.
template <int kImages, int N, typename W>
__device__ void squeeze(StripGateShape const& shape, int tile_images, W const* weights, Slice slice, Tile tile,
    Means means, float* partial, int64_t image_stride) {
    constexpr int kRows = kRowsOfLane<kImages>;
    constexpr int kRowsOfWarp = kRows * kRowLanes;
    constexpr int kLeft = kImages * kRows < kChannelLanes ? 1 : kImages * kRows / kChannelLanes;
    int const lane = static_cast<int>(threadIdx.x) % kWarp;
    int const row_groups = (shape.reduction + kRowsOfWarp - 1) / kRowsOfWarp;
    int const tasks = tile_images / kImages * shape.strips * row_groups;
    for (int task = static_cast<int>(threadIdx.x) / kWarp; task < tasks; task += static_cast<int>(blockDim.x) / kWarp) {
        int const first_row = task % row_groups * kRowsOfWarp;
        int const strip = task / row_groups % shape.strips;
        int const first_image = task / row_groups / shape.strips * kImages;
        int64_t const row = static_cast<int64_t>(strip) * shape.reduction + first_row;
        float sums[kImages * kRows] = {};
        squeeze_rows<kImages, kRows, N>(weights + row * shape.channels, shape.channels, shape.reduction - first_row,
            means.of(first_image, strip), means.image_stride, slice.channels, sums);
        Share const share = share_sums<kImages * kRows>(sums, lane);
#pragma unroll
        for (int i = 0; i < kLeft; ++i) {
            int const image = first_image + (share.first + i) / kRows;
            int const r = first_row + (share.first + i) % kRows * kRowLanes + lane % kRowLanes;
            if (share.owner && image < tile.images && r < shape.reduction) {
                partial[image * image_stride + strip * shape.reduction + r] = sums[i];
            }
        }
    }
}

__device__ inline float relu(float value) {
    return value > 0.0f ? value : (value == value ? 0.0f : value);  // a NaN stays visible
}

__device__ inline float sigmoid(float value) { return __fdividef(1.0f, 1.0f + expf(-value)); }

// logits[image, channel] = W2_k squeezed_k for the thread's channels; `weights` is W2_k from the slice's first channel
// on, and squeezed of an image is the next `image_stride` further.
template <int kImages, int kChannels, int N, typename W>
__device__ void excite_channels(W const* weights, int const* channels, float const* squeezed, int64_t image_stride,
    int reduction, float* logits) {
    constexpr int kPart = N < kPerVector<float> ? N : kPerVector<float>;
#pragma unroll kGroupsAtOnce<kImages>
    for (int r = 0; r < reduction; r += N) {
        Vector<W, N> loaded[kChannels];
#pragma unroll
        for (int c = 0; c < kChannels; ++c) {
            loaded[c] = load_again<N>(weights + static_cast<int64_t>(channels[c]) * reduction + r);
        }
#pragma unroll
        for (int part = 0; part < N; part += kPart) {
#pragma unroll
            for (int i = 0; i < kImages; ++i) {
                auto const sums = load<kPart>(squeezed + i * image_stride + r + part);
#pragma unroll
                for (int c = 0; c < kChannels; ++c) {
#pragma unroll
                    for (int j = 0; j < kPart; ++j) {
                        logits[i * kChannels + c] += to_float(loaded[c].values[part + j]) * sums.values[j];
                    }
                }
            }
        }
    }
}

// Y[c] = 1/K sum_k sigmoid(W2_k squeezed_k)[c] * L_k[c] for the slice, a thread to some channels and kImages images.
// `weights` and `y` are W2 and the tile's Y from the first channel of the slice on, squeezed is (images, K, R).
template <int kImages, int N, typename W, typename Y>
__device__ void excite(StripGateShape const& shape, int tile_images, W const* weights, Slice slice, Tile tile,
    Means means, float const* squeezed, Y* y) {
    constexpr int kChannels = kChannelsOfThread<kImages>;
    int const sums_of_image = shape.strips * shape.reduction;
    int const columns = (slice.channels + kChannels - 1) / kChannels;
    float const scale = 1.0f / static_cast<float>(shape.strips);
    for (int item = static_cast<int>(threadIdx.x); item < columns * (tile_images / kImages);
         item += static_cast<int>(blockDim.x)) {
        int const first_image = item / columns * kImages;
        int channels[kChannels];
#pragma unroll
        for (int c = 0; c < kChannels; ++c) {
            channels[c] = item % columns + c * columns;  // neighbouring threads have neighbouring channels
        }
        int const last = kChannels - 1;  // the only one that the slice may be too short for
        bool const whole = channels[last] < slice.channels;
        channels[last] = whole ? channels[last] : channels[0];
        float results[kImages * kChannels] = {};
#pragma unroll kStripsAtOnce<kImages>
        for (int k = 0; k < shape.strips; ++k) {
            float logits[kImages * kChannels] = {};
            excite_channels<kImages, kChannels, N>(weights + static_cast<int64_t>(k) * shape.channels * shape.reduction,
                channels, squeezed + first_image * sums_of_image + k * shape.reduction, sums_of_image, shape.reduction,
                logits);
#pragma unroll
            for (int i = 0; i < kImages; ++i) {
                // The workspace ends with the last image.
                float const* const strip = means.of(first_image + i < tile.images ? first_image + i : 0, k);
#pragma unroll
                for (int c = 0; c < kChannels; ++c) {
                    results[i * kChannels + c] += sigmoid(logits[i * kChannels + c]) * strip[channels[c]];
                }
            }
        }
#pragma unroll
        for (int i = 0; i < kImages; ++i) {
#pragma unroll
            for (int c = 0; c < kChannels; ++c) {
                if (first_image + i < tile.images && (c < last || whole)) {
                    y[static_cast<int64_t>(first_image + i) * shape.channels + channels[c]]
                        = from_float<Y>(results[i * kChannels + c] * scale);
                }
            }
        }
    }
}

}  // namespace lgeu
