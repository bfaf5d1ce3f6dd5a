// Device code of the StripGate operator: Y = mean over space of X gated strip by strip.
//
// For every image and strip k of K (H / K rows each), with L_k the mean of the strip over space:
//     S_k = relu(W1_k L_k)          W1_k: R x C
//     V_k = sigmoid(W2_k S_k)       W2_k: C x R
//     Y   = 1/K sum_k V_k * L_k     because a gate that is constant inside a strip commutes with its mean
// so X is read once and only K x C means are kept. Sums are fp32 whatever the type of X, and are added up in an order
// that the plan alone decides: equal calls give equal bits. How the work is divided is in strip_gate_plan.h.
//
// The same code is compiled by g++ over host/cuda_shim.h, where the threads of a cluster are fibres; that is how it is
// tested on machines without a GPU.
#pragma once

#include "strip_gate_gates.cuh"

namespace lgeu {

template <typename X, typename W>
struct StripGateProblem {
    StripGateShape shape;
    StripGatePlan plan;
    X const* x;
    W const* w1;
    W const* w2;
    X* y;
    float* workspace;

    __device__ Slice slice(int index) const {
        int const first = index * plan.slice_channels;
        int const left = shape.channels - first;
        return {first, left < plan.slice_channels ? left : plan.slice_channels};
    }
    __device__ Tile tile(int index) const {
        int const first = index * plan.tile_images;
        int const left = shape.images - first;
        return {first, left < plan.tile_images ? left : plan.tile_images};
    }
    __device__ W const* w1_of(Slice slice) const { return w1 + slice.first; }
    __device__ W const* w2_of(Slice slice) const { return w2 + static_cast<int64_t>(slice.first) * shape.reduction; }
    __device__ int64_t sums_of_image() const { return static_cast<int64_t>(shape.strips) * shape.reduction; }

    // Strip means of the tile, in shared memory and in the workspace.
    __device__ Means shared_means(float* shared) const {
        int const stride = strip_stride(plan);
        return {shared, static_cast<int64_t>(shape.strips) * stride, stride};
    }
    __device__ Means workspace_means(Tile tile, Slice slice) const {
        int64_t const image_stride = static_cast<int64_t>(shape.strips) * shape.channels;
        return {workspace + tile.first * image_stride + slice.first, image_stride, shape.channels};
    }
    // Partial sums of the tile in the workspace, from a slice on; an image has plan.slices sets.
    __device__ float* workspace_sums(Tile tile, int slice_index) const {
        return workspace + workspace_means_floats(shape)
            + (static_cast<int64_t>(tile.first) * plan.slices + slice_index) * sums_of_image();
    }
};

// Weights of the slice, ahead of the loads: they are then on their way while X is.
template <typename X, typename W>
__device__ void prefetch_weights(StripGateProblem<X, W> const& problem, Slice slice) {
    StripGateShape const& shape = problem.shape;
    int const thread = static_cast<int>(threadIdx.x);
    for (int row = thread; row < shape.strips * shape.reduction; row += static_cast<int>(blockDim.x)) {
        prefetch(problem.w1_of(slice) + static_cast<int64_t>(row) * shape.channels, slice.channels);
    }
    for (int k = thread; k < shape.strips; k += static_cast<int>(blockDim.x)) {
        prefetch(problem.w2_of(slice) + static_cast<int64_t>(k) * shape.channels * shape.reduction,
            static_cast<int64_t>(slice.channels) * shape.reduction);
    }
}

// Step 2 with 16-byte loads where sizes and address of W1 allow them.
template <int kImages, typename X, typename W>
__device__ void squeeze_slice(StripGateProblem<X, W> const& problem, Slice slice, Tile tile, Means means,
    float* partial, int64_t image_stride) {
    constexpr int kN = kPerVector<W>;
    StripGateShape const& shape = problem.shape;
    W const* const weights = problem.w1_of(slice);
    if (slice.channels % kN == 0 && in_vectors<kN>(weights, shape.channels)) {
        squeeze<kImages, kN>(shape, problem.plan.tile_images, weights, slice, tile, means, partial, image_stride);
    } else {
        squeeze<kImages, 1>(shape, problem.plan.tile_images, weights, slice, tile, means, partial, image_stride);
    }
}

// Step 4, likewise.
template <int kImages, typename X, typename W>
__device__ void excite_slice(
    StripGateProblem<X, W> const& problem, Slice slice, Tile tile, Means means, float const* squeezed) {
    constexpr int kN = kPerVector<W>;
    StripGateShape const& shape = problem.shape;
    W const* const weights = problem.w2_of(slice);
    X* const y = problem.y + static_cast<int64_t>(tile.first) * shape.channels + slice.first;
    if (in_vectors<kN>(weights, shape.reduction)) {
        excite<kImages, kN>(shape, problem.plan.tile_images, weights, slice, tile, means, squeezed, y);
    } else {
        excite<kImages, 1>(shape, problem.plan.tile_images, weights, slice, tile, means, squeezed, y);
    }
}

// Keeps the strip means of a tile, which are in shared memory, for excite_block.
template <typename X, typename W>
__device__ void keep_means(StripGateProblem<X, W> const& problem, Slice slice, Tile tile, Means means) {
    Means const kept = problem.workspace_means(tile, slice);
    for (int strip = 0; strip < tile.images * problem.shape.strips; ++strip) {
        float* const to = kept.of(strip / problem.shape.strips, strip % problem.shape.strips);
        float const* const from = means.of(strip / problem.shape.strips, strip % problem.shape.strips);
        for (int c = static_cast<int>(threadIdx.x); c < slice.channels; c += static_cast<int>(blockDim.x)) {
            to[c] = from[c];
        }
    }
}

// Step 3 in a cluster: relu of the partial sums of all its blocks.
template <typename X, typename W>
__device__ void combine_cluster(StripGateProblem<X, W> const& problem, float const* partial, float* squeezed) {
    int const sums = static_cast<int>(sums_floats(problem.shape, problem.plan));
    cluster_barrier();
    for (int i = static_cast<int>(threadIdx.x); i < sums; i += static_cast<int>(blockDim.x)) {
        float sum = 0.0f;
#pragma unroll 4
        for (int rank = 0; rank < problem.plan.slices; ++rank) {
            sum += in_block_of_cluster(partial, rank)[i];
        }
        squeezed[i] = relu(sum);
    }
    __syncthreads();
}

// Step 3 from the workspace.
template <typename X, typename W>
__device__ void combine_workspace(StripGateProblem<X, W> const& problem, Tile tile, float* squeezed) {
    int const sums_of_image = static_cast<int>(problem.sums_of_image());
    float const* const partial = problem.workspace_sums(tile, 0);
    for (int i = static_cast<int>(threadIdx.x); i < tile.images * sums_of_image; i += static_cast<int>(blockDim.x)) {
        int64_t const image = i / sums_of_image;
        float const* const first = partial + image * problem.plan.slices * sums_of_image + i % sums_of_image;
        float sum = 0.0f;
#pragma unroll 4
        for (int s = 0; s < problem.plan.slices; ++s) {
            sum += first[static_cast<int64_t>(s) * sums_of_image];
        }
        squeezed[i] = relu(sum);
    }
    __syncthreads();
}

// Grid (slices, tiles at once); `shared` has squeeze_shared_bytes(). kFused: all steps, in clusters of (slices, 1).
// kTwoKernels: means and partial sums, into the workspace.
template <int kImages, typename X, typename W>
__device__ void squeeze_block(StripGateProblem<X, W> const& problem, float* shared) {
    StripGatePlan const& plan = problem.plan;
    bool const fused = plan.method == StripGateMethod::kFused;
    int const sums = static_cast<int>(sums_floats(problem.shape, plan));
    float* const both_partial = shared + means_floats(problem.shape, plan);
    Means const means = problem.shared_means(shared);
    int const slice_index = static_cast<int>(blockIdx.x);
    Slice const slice = problem.slice(slice_index);
    int const step = static_cast<int>(gridDim.y);
    int index = static_cast<int>(blockIdx.y);
    prefetch_x(problem.shape, problem.x, slice, problem.tile(index));
    prefetch_weights(problem, slice);
    for (int turn = 0; index < plan.tiles(problem.shape); index += step, ++turn) {
        Tile const tile = problem.tile(index);
        if (index + step < plan.tiles(problem.shape)) {
            prefetch_x(problem.shape, problem.x, slice, problem.tile(index + step));
        }
        strip_means(problem.shape, problem.x, slice, tile, means);
        __syncthreads();
        // Two sets in turn: while a slower block still reads those of this tile, the next tile's go to the other set,
        // and nobody is two tiles ahead of the barrier.
        float* const partial = fused ? both_partial + turn % 2 * sums : problem.workspace_sums(tile, slice_index);
        int64_t const image_stride = (fused ? 1 : plan.slices) * problem.sums_of_image();
        squeeze_slice<kImages>(problem, slice, tile, means, partial, image_stride);
        if (fused) {
            float* const squeezed = both_partial + 2 * sums;
            combine_cluster(problem, partial, squeezed);
            excite_slice<kImages>(problem, slice, tile, means, squeezed);
        } else {
            keep_means(problem, slice, tile, means);
        }
        __syncthreads();  // the next tile's means take the place of these
    }
    if (fused) {
        leave_cluster();
    }
}

// kTwoKernels, the second: from the workspace to Y. The same grid; `shared` has excite_shared_bytes().
template <int kImages, typename X, typename W>
__device__ void excite_block(StripGateProblem<X, W> const& problem, float* shared) {
    Slice const slice = problem.slice(static_cast<int>(blockIdx.x));
    for (int index = static_cast<int>(blockIdx.y); index < problem.plan.tiles(problem.shape);
         index += static_cast<int>(gridDim.y)) {
        Tile const tile = problem.tile(index);
        combine_workspace(problem, tile, shared);
        excite_slice<kImages>(problem, slice, tile, problem.workspace_means(tile, slice), shared);
        __syncthreads();  // the next tile's sums take the place of these
    }
}

}  // namespace lgeu
